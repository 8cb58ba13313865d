//! The default engine: pure Rust, nothing to install.

use std::sync::Arc;

use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, ValueOrView};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::engine::graph::{Array, Engine, EngineError, Graph, GraphOptions, GraphSource, Output};
use crate::engine::lanes::Lanes;
use crate::onnx::WEIGHTS_NAME;

/// The version this crate is pinned to; rten does not tell its own.
pub(crate) const VERSION: &str = "0.27.0";

/// Loads graphs into rten.
pub(crate) struct RtenEngine;

impl Engine for RtenEngine {
    fn load(
        &self,
        source: GraphSource,
        options: &GraphOptions,
    ) -> Result<Arc<dyn Graph>, EngineError> {
        let mut load = ModelOptions::with_all_ops();
        load.prepack_weights(options.prepack);
        let model = match source {
            GraphSource::File(path) => load.load_file(path)?,
            GraphSource::Memory(model) => load
                .external_data(WEIGHTS_NAME, model.weights)
                .load(model.proto)?,
        };
        let names = |ids: &[NodeId]| -> Vec<String> {
            ids.iter()
                .filter_map(|&id| model.node_info(id)?.name().map(str::to_owned))
                .collect()
        };
        let (inputs, outputs) = (names(model.input_ids()), names(model.output_ids()));
        // One thread pool per call in flight: calls that shared one would queue behind each other.
        let pools = (0..options.parallel_calls)
            .map(|_| Arc::new(ThreadPool::with_num_threads(options.threads)))
            .collect();
        Ok(Arc::new(RtenGraph {
            model,
            inputs,
            outputs,
            pools: Lanes::new(pools),
        }))
    }
}

struct RtenGraph {
    model: Model,
    inputs: Vec<String>,
    outputs: Vec<String>,
    pools: Lanes<Arc<ThreadPool>>,
}

impl Graph for RtenGraph {
    fn inputs(&self) -> &[String] {
        &self.inputs
    }

    fn outputs(&self) -> &[String] {
        &self.outputs
    }

    fn run(&self, inputs: Vec<(&str, Array)>, output: &str) -> Result<Output, EngineError> {
        let mut values: Vec<(NodeId, ValueOrView<'_>)> = Vec::with_capacity(inputs.len());
        for (name, array) in inputs {
            let id = self.model.node_id(name)?;
            let value = match array {
                // rten keeps every integer as i32.
                Array::I64(shape, data) => {
                    let data = data
                        .into_iter()
                        .map(i32::try_from)
                        .collect::<Result<Vec<_>, _>>()?;
                    Tensor::from_data(shape.as_slice(), data).into()
                }
                Array::F32(shape, data) => Tensor::from_data(shape.as_slice(), data).into(),
            };
            values.push((id, value));
        }
        let pool = self.pools.take();
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&pool)));
        let [answer] = self
            .model
            .run_n(values, [self.model.node_id(output)?], Some(options))?;
        let tensor: Tensor<f32> = answer.into_tensor().ok_or("output is not f32")?;
        Ok(Output {
            shape: tensor.shape().to_vec(),
            values: tensor.into_data(),
        })
    }
}
