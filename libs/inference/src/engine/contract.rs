//! What every engine must do, run on each one that is there.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::graph::{Array, Engine, Graph, GraphOptions, GraphSource};
use crate::engine::ort::OrtEngine;
use crate::engine::rten::RtenEngine;
use crate::onnx::builder::{Attr, Elem};
use crate::onnx::{GraphBuilder, SafeTensorsFile};

const OPTIONS: GraphOptions = GraphOptions {
    threads: 1,
    parallel_calls: 2,
    prepack: false,
};

fn engines() -> Vec<(&'static str, Box<dyn Engine>)> {
    let mut engines: Vec<(_, Box<dyn Engine>)> = vec![("rten", Box::new(RtenEngine))];
    match std::env::var_os("ORT_DYLIB_PATH") {
        Some(path) => engines.push((
            "ort",
            Box::new(OrtEngine::open(&PathBuf::from(path)).unwrap()),
        )),
        None => {
            let required = std::env::var("MEDIAMESH_TEST_REQUIRE").unwrap_or_default();
            assert!(
                !required.split(',').any(|name| name == "ort"),
                "ORT_DYLIB_PATH is not set"
            );
        }
    }
    engines
}

/// `rows[ids] * 2 + 1`, with dynamic batch and length.
fn lookup() -> GraphSource {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let values: Vec<u8> = (0..12_u8)
        .flat_map(|v| f32::from(v).to_le_bytes())
        .collect();
    let view =
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![4, 3], &values).unwrap();
    safetensors::serialize_to_file([("rows", view)], None, &path).unwrap();
    let mut file = SafeTensorsFile::open(&path).unwrap();
    let mut g = GraphBuilder::new(&mut file);
    let ids = g.input("ids", Elem::I64, &["batch", "length"]);
    let rows = g.weight("rows", &[4, 3]).unwrap();
    let picked = g.op("Gather", &[&rows, &ids], vec![Attr::I("axis", 0)]);
    let (two, one) = (g.float(2.0), g.float(1.0));
    let doubled = g.op("Mul", &[&picked, &two], vec![]);
    let sum = g.op("Add", &[&doubled, &one], vec![]);
    g.output(&sum, "out", &["batch", "length", "3"]);
    GraphSource::Memory(g.finish())
}

fn run(graph: &dyn Graph, shape: Vec<usize>, ids: Vec<i64>) -> (Vec<usize>, Vec<f32>) {
    let output = graph
        .run(vec![("ids", Array::I64(shape, ids))], "out")
        .unwrap();
    (output.shape, output.values)
}

#[test]
fn an_engine_runs_a_converted_graph_at_any_batch_and_length() {
    for (name, engine) in engines() {
        let graph = engine.load(lookup(), &OPTIONS).unwrap();
        assert_eq!(
            (graph.inputs(), graph.outputs()),
            (&["ids".to_owned()][..], &["out".to_owned()][..]),
            "{name}"
        );
        assert_eq!(
            run(&*graph, vec![1, 1], vec![1]),
            (vec![1, 1, 3], vec![7.0, 9.0, 11.0]),
            "{name}"
        );
        let (shape, values) = run(&*graph, vec![2, 2], vec![0, 3, 0, 0]);
        assert_eq!(shape, [2, 2, 3], "{name}");
        assert_eq!(
            values,
            [1., 3., 5., 19., 21., 23., 1., 3., 5., 1., 3., 5.],
            "{name}"
        );
    }
}

#[test]
fn more_threads_than_lanes_all_get_their_own_answer() {
    for (name, engine) in engines() {
        let graph: Arc<dyn Graph> = engine.load(lookup(), &OPTIONS).unwrap();
        std::thread::scope(|scope| {
            for id in 0..4_i64 {
                let graph = Arc::clone(&graph);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let (_, values) = run(&*graph, vec![1, 1], vec![id]);
                        assert_eq!(values[0], id as f32 * 6.0 + 1.0, "{name}");
                    }
                });
            }
        });
    }
}

#[test]
fn a_wrong_input_is_an_error_and_the_lane_comes_back() {
    for (name, engine) in engines() {
        let graph = engine.load(lookup(), &OPTIONS).unwrap();
        for _ in 0..5 {
            assert!(
                graph
                    .run(vec![("ids", Array::I64(vec![1, 1], vec![9]))], "out")
                    .is_err(),
                "{name}"
            );
            assert!(
                graph
                    .run(vec![("nothing", Array::I64(vec![1, 1], vec![1]))], "out")
                    .is_err(),
                "{name}"
            );
            assert!(
                graph
                    .run(vec![("ids", Array::I64(vec![1, 1], vec![1]))], "elsewhere")
                    .is_err(),
                "{name}"
            );
        }
        assert_eq!(
            run(&*graph, vec![1, 1], vec![0]).1,
            [1.0, 3.0, 5.0],
            "{name}"
        );
    }
}

#[test]
fn a_broken_graph_is_an_error() {
    for (name, engine) in engines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.onnx");
        std::fs::write(&path, b"\x08\x08not a graph").unwrap();
        assert!(
            engine.load(GraphSource::File(path), &OPTIONS).is_err(),
            "{name}"
        );
    }
}
