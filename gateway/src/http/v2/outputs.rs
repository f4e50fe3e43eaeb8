//! The outputs: the best classes of every image as three tensors, or as the classification
//! extension's texts, in JSON or behind it.

use bytes::{BufMut, BytesMut};
use serde::{Deserialize, Serialize};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::prediction::{Class, MAX_TOP_K};

use super::parameters::Parameters;

/// An output that every model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Label,
    Score,
    Index,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Label, Kind::Score, Kind::Index];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Label => "label",
            Kind::Score => "score",
            Kind::Index => "index",
        }
    }

    pub(super) fn datatype(self) -> &'static str {
        match self {
            Kind::Label => "BYTES",
            Kind::Score => "FP32",
            Kind::Index => "INT64",
        }
    }

    /// The datatype's name in a model's configuration.
    pub(super) fn config_type(self) -> &'static str {
        match self {
            Kind::Label => "TYPE_STRING",
            Kind::Score => "TYPE_FP32",
            Kind::Index => "TYPE_INT64",
        }
    }
}

/// An output in the request's head.
#[derive(Deserialize)]
pub(super) struct Output {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

/// An output that is asked for.
pub(super) struct Wanted {
    kind: Kind,
    /// As many of the classification extension's texts.
    classification: Option<usize>,
    is_binary: bool,
}

impl Wanted {
    /// What the request names; all three when it names none.
    pub(super) fn read(outputs: &[Output], binary: bool) -> Result<Vec<Self>, Failure> {
        if outputs.is_empty() {
            return Ok(Kind::ALL.map(|kind| Self { kind, classification: None, is_binary: binary }).into());
        }
        let mut wanted: Vec<Self> = Vec::new();
        for output in outputs {
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == output.name);
            let names = || Kind::ALL.map(Kind::name).join(", ");
            let kind =
                kind.ok_or_else(|| bad(format!("there is no output `{}`; there are: {}", output.name, names())))?;
            if wanted.iter().any(|other| other.kind == kind) {
                return Err(bad(format!("output `{}` is asked for twice", output.name)));
            }
            output.parameters.only("an output", &["binary_data", "classification"])?;
            let classes = output.parameters.number("classification", 1, MAX_TOP_K as u64)?;
            wanted.push(Self {
                kind,
                classification: classes.map(|classes| classes as usize),
                is_binary: output.parameters.flag("binary_data")?.unwrap_or(binary),
            });
        }
        Ok(wanted)
    }

    /// Whether its values go behind the JSON.
    pub(super) fn is_binary(&self) -> bool {
        self.is_binary
    }

    /// The tensor for images with these classes, the best first: as many of each as all have. Its
    /// values go behind the JSON when that is wanted.
    pub(super) fn tensor(&self, images: &[&[Class]], top_k: usize, behind: &mut BytesMut) -> Tensor {
        let most = self.classification.unwrap_or(top_k);
        let k = images.iter().map(|classes| classes.len()).min().unwrap_or(0).min(most);
        let classes = images.iter().flat_map(|classes| &classes[..k]);
        let values = match (self.classification, self.kind) {
            (Some(_), _) => Values::Texts(classes.map(classified).collect()),
            (None, Kind::Label) => Values::Texts(classes.map(|class| class.label.to_string()).collect()),
            (None, Kind::Score) => Values::Scores(classes.map(|class| class.score).collect()),
            (None, Kind::Index) => Values::Indices(classes.map(|class| class.index.into()).collect()),
        };
        let datatype = if self.classification.is_some() { Kind::Label.datatype() } else { self.kind.datatype() };
        let (name, shape) = (self.kind.name(), [images.len(), k]);
        if !self.is_binary {
            return Tensor { name, datatype, shape, parameters: None, data: Some(values) };
        }
        let before = behind.len();
        values.write(behind);
        let parameters = Some(BinarySize { binary_data_size: behind.len() - before });
        Tensor { name, datatype, shape, parameters, data: None }
    }
}

/// One text of the classification extension, as Triton writes it.
fn classified(class: &Class) -> String {
    format!("{:.6}:{}:{}", class.score, class.index, class.label)
}

/// An output of a response.
#[derive(Serialize)]
pub(super) struct Tensor {
    name: &'static str,
    datatype: &'static str,
    shape: [usize; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Values>,
}

#[derive(Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Values {
    Texts(Vec<String>),
    Scores(Vec<f32>),
    Indices(Vec<i64>),
}

impl Values {
    /// In the protocol's binary form: little-endian, a text with its length before it.
    fn write(&self, behind: &mut BytesMut) {
        match self {
            Values::Texts(texts) => texts.iter().for_each(|text| {
                behind.put_u32_le(text.len() as u32);
                behind.put_slice(text.as_bytes());
            }),
            Values::Scores(scores) => scores.iter().for_each(|score| behind.put_f32_le(*score)),
            Values::Indices(indices) => indices.iter().for_each(|index| behind.put_i64_le(*index)),
        }
    }
}

fn bad(message: String) -> Failure {
    Failure::new(FailureCode::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(count: u32) -> Vec<Class> {
        (0..count)
            .map(|index| Class { label: format!("l{index}").into(), index, score: 0.5 / (index + 1) as f32 })
            .collect()
    }

    fn wanted(json: &str) -> Result<Vec<Wanted>, Failure> {
        Wanted::read(&serde_json::from_str::<Vec<Output>>(json).unwrap(), false)
    }

    #[test]
    fn json_and_binary_say_the_same() {
        let (one, other) = (classes(3), classes(4));
        let images = [&one[..], &other[..]];
        let mut behind = BytesMut::new();
        let outputs = wanted(r#"[{"name": "index"}, {"name": "label", "parameters": {"binary_data": true}}]"#).unwrap();
        let tensors: Vec<_> = outputs.iter().map(|output| output.tensor(&images, 2, &mut behind)).collect();
        let json = serde_json::to_value(&tensors).unwrap();
        assert_eq!(
            json[0],
            serde_json::json!({"name": "index", "datatype": "INT64", "shape": [2, 2], "data": [0, 1, 0, 1]})
        );
        assert_eq!(json[1]["parameters"]["binary_data_size"], 24);
        assert_eq!(behind.as_ref(), b"\x02\0\0\0l0\x02\0\0\0l1\x02\0\0\0l0\x02\0\0\0l1");
    }

    #[test]
    fn classification_gives_texts_and_no_more_than_all_images_have() {
        let (one, other) = (classes(3), classes(4));
        let outputs = wanted(r#"[{"name": "score", "parameters": {"classification": 20}}]"#).unwrap();
        let tensor = outputs[0].tensor(&[&one, &other], 1, &mut BytesMut::new());
        let json = serde_json::to_value(&tensor).unwrap();
        assert_eq!((&json["datatype"], &json["shape"]), (&"BYTES".into(), &serde_json::json!([2, 3])));
        assert_eq!(json["data"][1], "0.250000:1:l1");
    }

    #[test]
    fn unknown_outputs_are_refused_with_the_list() {
        let message = |json| wanted(json).err().unwrap().message;
        assert!(message(r#"[{"name": "probabilities"}]"#).contains("label, score, index"));
        assert!(message(r#"[{"name": "score"}, {"name": "score"}]"#).contains("twice"));
        assert!(message(r#"[{"name": "score", "parameters": {"classification": 0}}]"#).contains("1 to 20"));
        assert!(
            message(r#"[{"name": "score", "parameters": {"shared_memory_region": "r"}}]"#).contains("shared memory")
        );
    }
}
