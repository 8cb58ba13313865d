//! The edge over fake services, through the real mesh.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod edge {
    mod downloads;
    mod grpc;
    mod json;
    mod metadata;
    mod pages;
    mod rig;
    mod serve;
    mod trace;
    mod uploads;
}
