//! Nothing that can be configured of a service or a method is missing from what is shown.

use mediamesh_mesh::policy::{MethodPolicyOptions, ServicePolicyOptions};
use serde_json::{Map, Value, json};

use super::*;

const READ: &str = "mediamesh.media.v1.MediaService/GetMediaItem";
const LIST: &str = "mediamesh.media.v1.MediaService/ListMediaItems";

/// Each key of a service, an unusual value, and how it is shown: here in the lines of the service.
fn of_service() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("max_running", json!(1011), "to 1011 calls at once"),
        ("max_in_flight", json!(1012), "1012 in flight"),
        ("max_streams", json!(1013), "1013 streams"),
        ("min_running", json!(14), "runs 14 to"),
        ("initial_running", json!(15), "15 at the start"),
        ("background_percent", json!(16), "16 % of it for background"),
        ("max_wait_ms", json!(1017), "waits 1s 17ms at most"),
        ("retry_throttling.max_tokens", json!(18), "budget 18 tokens"),
        ("retry_throttling.token_ratio", json!(0.19), "0.19 back per"),
        (
            "retry_throttling.tokens_per_second",
            json!(2.5),
            "2.5 a second",
        ),
        (
            "outlier_detection.consecutive_failures",
            json!(21),
            "after 21 failures",
        ),
        (
            "outlier_detection.success_rate_floor",
            json!(0.225),
            "below 22.5 % of",
        ),
        ("outlier_detection.minimum_calls", json!(23), "of 23 calls"),
        (
            "outlier_detection.base_ejection_time_ms",
            json!(1024),
            "for 1s 24ms to",
        ),
        (
            "outlier_detection.max_ejection_time_ms",
            json!(1025),
            "to 1s 25ms less",
        ),
        (
            "outlier_detection.max_ejection_time_jitter",
            json!(0.26),
            "less up to 26 %",
        ),
        (
            "outlier_detection.max_ejection_percent",
            json!(27),
            "27 % of the endpoints",
        ),
        (
            "connection.connect_timeout_ms",
            json!(1028),
            "connect 1s 28ms",
        ),
        (
            "connection.initial_backoff_ms",
            json!(29),
            "again after 29ms to",
        ),
        ("connection.max_backoff_ms", json!(1030), "to 1s 30ms, sign"),
        ("connection.silence_ms", json!(1031), "for after 1s 31ms"),
        (
            "connection.probe_timeout_ms",
            json!(1032),
            "awaited for 1s 32ms",
        ),
        (
            "connection.keep_alive_timeout_ms",
            json!(1033),
            "left alone for 1s 33ms",
        ),
        (
            "connection.max_in_flight",
            json!(34),
            "34 calls to one endpoint",
        ),
        (
            "connection.latency_decay_ms",
            json!(1035),
            "fades in 1s 35ms",
        ),
        (
            "connection.latency_floor_us",
            json!(1036),
            "less than 1ms 36us",
        ),
        (
            "connection.health_interval_ms",
            json!(1037),
            "health every 1s 37ms",
        ),
        (
            "connection.resolve_interval_ms",
            json!(1038),
            "resolved every 1s 38ms",
        ),
        (
            "connection.resolve_timeout_ms",
            json!(1039),
            "for 1s 39ms at most",
        ),
    ]
}

/// Each key of a method, or of the methods of a service: in the line of the method.
fn of_method() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("deadline_ms", json!(2041), "deadline 2s 41ms"),
        ("retry_policy.max_attempts", json!(7), "retry 7 attempts"),
        ("retry_policy.initial_backoff_ms", json!(43), "43ms x"),
        ("retry_policy.max_backoff_ms", json!(1044), "up to 1s 44ms"),
        ("retry_policy.backoff_multiplier", json!(1.75), "x1.75 up"),
    ]
}

/// Each key of a method alone.
fn of_method_alone() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("attempt_timeout_ms", json!(1051), "attempt 1s 51ms"),
        ("hedging_policy.max_attempts", json!(2), "2 at once"),
        ("hedging_policy.hedging_delay_ms", json!(53), "after 53ms"),
        (
            "hedging_policy.min_hedging_delay_ms",
            json!(54),
            "never before 54ms",
        ),
        (
            "hedging_policy.budget_percent",
            json!(5.5),
            "5.5 % of calls",
        ),
    ]
}

/// The options with these values, of a type that has no other keys than these.
fn options<T>(cases: &[(&str, Value, &str)]) -> Value
where
    T: Default + serde::Serialize,
{
    let mut known = Vec::new();
    names("", &serde_json::to_value(T::default()).unwrap(), &mut known);
    let mut named: Vec<_> = cases.iter().map(|(key, ..)| (*key).to_owned()).collect();
    named.sort_unstable();
    known.sort_unstable();
    assert_eq!(named, known, "a key has no case, or a case no key");
    let mut options = Map::new();
    for (key, value, _) in cases {
        match key.split_once('.') {
            None => options.insert((*key).to_owned(), value.clone()),
            Some((table, key)) => {
                let table = options.entry(table).or_insert_with(|| json!({}));
                table
                    .as_object_mut()
                    .unwrap()
                    .insert(key.to_owned(), value.clone())
            }
        };
    }
    Value::Object(options)
}

fn names(prefix: &str, value: &Value, names_of: &mut Vec<String>) {
    for (key, value) in value.as_object().unwrap() {
        let key = format!("{prefix}{key}");
        match value {
            Value::Object(_) => names(&format!("{key}."), value, names_of),
            _ => names_of.push(key),
        }
    }
}

fn shown(options: &Value) -> String {
    let options: PolicyOptions = serde_json::from_value(options.clone()).unwrap();
    assert_eq!(options.validate(), Vec::<String>::new());
    print(&options)
}

#[track_caller]
fn assert_shown(text: &str, name: &str, cases: &[(&str, Value, &str)]) {
    let Some((_, own)) = text.split_once(&format!("# {name}\n")) else {
        panic!("{name} is not in {text}");
    };
    let own: Vec<_> = own
        .lines()
        .take_while(|line| line.starts_with("#   "))
        .collect();
    let own = own.join("\n");
    for (key, _, shown) in cases {
        assert!(own.contains(shown), "{key}: `{shown}` is not in {own}");
    }
}

#[test]
fn every_key_of_a_service_changes_what_is_shown_of_it() {
    let (service, method) = (of_service(), of_method());
    let all = [service.clone(), method.clone()].concat();
    let own = options::<ServicePolicyOptions>(&all);
    let text = shown(&json!({"services": {"media": own}}));
    assert_shown(&text, "media", &service);
    assert_shown(&text, LIST, &method);
    // and it is none of the defaults that the others have
    let others = text.split_once("# search\n").unwrap().1;
    for (key, _, shown) in service {
        assert!(!others.contains(shown), "{key}: {shown}");
    }
}

#[test]
fn every_key_of_a_method_changes_what_is_shown_of_it() {
    let all = [of_method(), of_method_alone()].concat();
    let own = options::<MethodPolicyOptions>(&all);
    let text = shown(&json!({"methods": {READ: own}}));
    assert_shown(&text, READ, &all);
}
