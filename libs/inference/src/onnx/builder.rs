//! Operators with weights into a graph.

use prost::Message;

use crate::onnx::proto::{
    ATTR_FLOAT, ATTR_INT, ATTR_INTS, AttributeProto, DimensionProto, GraphProto, LOCATION_EXTERNAL,
    ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TYPE_FLOAT, TYPE_INT64,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::onnx::weights::{SafeTensorsFile, WeightsError};
use crate::onnx::{MemoryModel, WEIGHTS_NAME};

/// First opset with `LayerNormalization`; later ones add nothing a graph here needs.
const OPSET: i64 = 17;
/// IR version that goes with opset 17, so that older ONNX Runtimes load it too.
const IR_VERSION: i64 = 8;
/// Offsets are multiples of this: engines use aligned external data without copying it.
const ALIGN: usize = 64;

/// Name of a value in the graph.
pub(crate) type Val = String;

/// An attribute of an operator.
pub(crate) enum Attr {
    /// A float.
    F(&'static str, f32),
    /// An integer.
    I(&'static str, i64),
    /// A list of integers.
    Ints(&'static str, Vec<i64>),
}

/// Element type of a graph input.
#[derive(Clone, Copy)]
pub(crate) enum Elem {
    /// 32-bit float.
    F32,
    /// 64-bit integer.
    I64,
}

/// Builds one graph from the weights of one file.
pub(crate) struct GraphBuilder<'w> {
    file: &'w mut SafeTensorsFile,
    graph: GraphProto,
    data: Vec<u8>,
    next: usize,
}

impl<'w> GraphBuilder<'w> {
    pub(crate) fn new(file: &'w mut SafeTensorsFile) -> Self {
        Self {
            file,
            graph: GraphProto {
                name: Some("tower".to_owned()),
                ..Default::default()
            },
            data: Vec::new(),
            next: 0,
        }
    }

    /// Whether the weights hold this tensor.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.file.has(name)
    }

    /// Declares an input; a name is a symbolic dimension, a number a fixed one.
    pub(crate) fn input(&mut self, name: &str, elem: Elem, dims: &[&str]) -> Val {
        self.graph.input.push(value_info(name, elem, dims));
        name.to_owned()
    }

    /// Makes a value the graph's output under a name.
    pub(crate) fn output(&mut self, value: &Val, name: &str, dims: &[&str]) {
        self.graph.node.push(NodeProto {
            input: vec![value.clone()],
            output: vec![name.to_owned()],
            name: Some(format!("{name}_out")),
            op_type: Some("Identity".to_owned()),
            attribute: Vec::new(),
        });
        self.graph.output.push(value_info(name, Elem::F32, dims));
    }

    /// Adds an operator with one output.
    pub(crate) fn op(&mut self, op: &str, inputs: &[&Val], attributes: Vec<Attr>) -> Val {
        self.next += 1;
        let name = format!("{}_{}", op.to_lowercase(), self.next);
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|name| (*name).clone()).collect(),
            output: vec![name.clone()],
            name: Some(format!("{name}_node")),
            op_type: Some(op.to_owned()),
            attribute: attributes.into_iter().map(attribute).collect(),
        });
        name
    }

    /// A small integer constant, one-dimensional.
    pub(crate) fn ints(&mut self, values: &[i64]) -> Val {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.small(TYPE_INT64, vec![values.len() as i64], raw)
    }

    /// An integer scalar.
    pub(crate) fn int(&mut self, value: i64) -> Val {
        self.small(TYPE_INT64, Vec::new(), value.to_le_bytes().to_vec())
    }

    /// A float scalar.
    pub(crate) fn float(&mut self, value: f32) -> Val {
        self.small(TYPE_FLOAT, Vec::new(), value.to_le_bytes().to_vec())
    }

    fn small(&mut self, data_type: i32, dims: Vec<i64>, raw: Vec<u8>) -> Val {
        self.next += 1;
        let name = format!("const_{}", self.next);
        self.graph.initializer.push(TensorProto {
            dims,
            data_type: Some(data_type),
            name: Some(name.clone()),
            raw_data: Some(raw),
            ..Default::default()
        });
        name
    }

    /// A computed float constant kept with the weights.
    pub(crate) fn floats(&mut self, shape: &[usize], values: &[f32]) -> Val {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        self.next += 1;
        let name = format!("weight_{}", self.next);
        self.data.resize(self.data.len().next_multiple_of(ALIGN), 0);
        let offset = self.data.len();
        self.data.reserve(values.len() * 4);
        self.data
            .extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value),
        };
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|&d| d as i64).collect(),
            data_type: Some(TYPE_FLOAT),
            name: Some(name.clone()),
            external_data: vec![
                entry("location", WEIGHTS_NAME.to_owned()),
                entry("offset", offset.to_string()),
                entry("length", (values.len() * 4).to_string()),
            ],
            data_location: Some(LOCATION_EXTERNAL),
            ..Default::default()
        });
        name
    }

    /// Reads a tensor and checks its shape.
    pub(crate) fn read(&mut self, name: &str, wanted: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let found = self.file.shape(name)?;
        if found != wanted {
            return Err(WeightsError::Shape {
                name: name.to_owned(),
                found,
                wanted: wanted.to_vec(),
            });
        }
        self.file.read(name)
    }

    /// A weight as it lies in the file.
    pub(crate) fn weight(&mut self, name: &str, shape: &[usize]) -> Result<Val, WeightsError> {
        let values = self.read(name, shape)?;
        Ok(self.floats(shape, &values))
    }

    /// `x W^T (+ b)` with `W` stored `[outputs, inputs]`, as torch's `Linear`.
    pub(crate) fn linear(
        &mut self,
        x: &Val,
        prefix: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Val, WeightsError> {
        let weight = self.read(&format!("{prefix}.weight"), &[outputs, inputs])?;
        let bias = format!("{prefix}.bias");
        let bias = if self.has(&bias) {
            Some(self.read(&bias, &[outputs])?)
        } else {
            None
        };
        Ok(self.affine(x, &weight, bias.as_deref(), inputs, outputs))
    }

    /// As [`linear`](Self::linear), from values at hand.
    pub(crate) fn affine(
        &mut self,
        x: &Val,
        weight: &[f32],
        bias: Option<&[f32]>,
        inputs: usize,
        outputs: usize,
    ) -> Val {
        let weight = self.floats(&[inputs, outputs], &transposed(weight, outputs, inputs));
        let product = self.op("MatMul", &[x, &weight], vec![]);
        match bias {
            Some(bias) => {
                let bias = self.floats(&[outputs], bias);
                self.op("Add", &[&product, &bias], vec![])
            }
            None => product,
        }
    }

    /// Layer normalisation over the last dimension.
    pub(crate) fn layer_norm(
        &mut self,
        x: &Val,
        prefix: &str,
        dims: usize,
        eps: f32,
    ) -> Result<Val, WeightsError> {
        let scale = self.weight(&format!("{prefix}.weight"), &[dims])?;
        let bias = self.weight(&format!("{prefix}.bias"), &[dims])?;
        Ok(self.op(
            "LayerNormalization",
            &[x, &scale, &bias],
            vec![Attr::I("axis", -1), Attr::F("epsilon", eps)],
        ))
    }

    /// Encodes the graph; its weights stay beside it.
    pub(crate) fn finish(self) -> MemoryModel {
        let model = ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("mediamesh".to_owned()),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(OPSET),
            }],
        };
        MemoryModel {
            proto: model.encode_to_vec(),
            weights: self.data,
        }
    }
}

fn attribute(attribute: Attr) -> AttributeProto {
    let mut made = AttributeProto::default();
    match attribute {
        Attr::F(name, f) => {
            (made.name, made.f, made.r#type) = (Some(name.to_owned()), Some(f), Some(ATTR_FLOAT))
        }
        Attr::I(name, i) => {
            (made.name, made.i, made.r#type) = (Some(name.to_owned()), Some(i), Some(ATTR_INT))
        }
        Attr::Ints(name, ints) => {
            (made.name, made.ints, made.r#type) = (Some(name.to_owned()), ints, Some(ATTR_INTS))
        }
    }
    made
}

fn value_info(name: &str, elem: Elem, dims: &[&str]) -> ValueInfoProto {
    let dim = dims
        .iter()
        .map(|dim| match dim.parse() {
            Ok(value) => DimensionProto {
                dim_value: Some(value),
                dim_param: None,
            },
            Err(_) => DimensionProto {
                dim_value: None,
                dim_param: Some((*dim).to_owned()),
            },
        })
        .collect();
    let elem_type = match elem {
        Elem::F32 => TYPE_FLOAT,
        Elem::I64 => TYPE_INT64,
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: Some(elem_type),
                shape: Some(TensorShapeProto { dim }),
            }),
        }),
    }
}

/// Transposes `[rows, columns]` in tiles that stay in the first-level cache.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut out = vec![0.0; values.len()];
    for row0 in (0..rows).step_by(TILE) {
        for column0 in (0..columns).step_by(TILE) {
            for row in row0..(row0 + TILE).min(rows) {
                for column in column0..(column0 + TILE).min(columns) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}
