//! Which field of the data feeds which input of the training graphs.

use std::collections::BTreeMap;

use onnxfit_data::Field;
use onnxfit_runtime::{ElementType, Tensor, Tensors};

use crate::plan::DataInput;

/// Why data does not fit a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// An input that nothing feeds.
    #[error("nothing feeds input `{input}`: the data has {}", quoted(.have))]
    Missing {
        /// The input.
        input: String,
        /// The fields of the data that feed nothing else.
        have: Vec<String>,
    },
    /// A field that the data does not have.
    #[error("the data has no `{field}`, only {}", quoted(.have))]
    NoField {
        /// The field.
        field: String,
        /// The fields that are there.
        have: Vec<String>,
    },
    /// A type that does not become the one wanted without loss of meaning.
    #[error("`{field}` is {have}, but input `{input}` wants {want}")]
    Type {
        /// The field.
        field: String,
        /// The input.
        input: String,
        /// What the input wants.
        want: ElementType,
        /// What the field is.
        have: ElementType,
    },
    /// A shape of another rank.
    #[error("samples of `{field}` are {have:?}, but input `{input}` wants {want} dimensions with that of the batch")]
    Rank {
        /// The field.
        field: String,
        /// The input.
        input: String,
        /// The rank that is wanted.
        want: usize,
        /// The shape of a sample.
        have: Vec<u64>,
    },
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Which field feeds which input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feeds {
    feeds: Vec<Feed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Feed {
    field: String,
    input: DataInput,
}

impl Feeds {
    /// Pairs fields with inputs: as `given` (input to field), by equal names, and what is then the
    /// only one left on either side.
    pub fn of(schema: &[Field], inputs: &[DataInput], given: &BTreeMap<String, String>) -> Result<Self, FeedError> {
        let find = |name: &str| schema.iter().find(|field| field.name == name);
        let mut pairs: Vec<(&DataInput, &Field)> = Vec::new();
        let mut open: Vec<&DataInput> = Vec::new();
        for input in inputs {
            let field = match given.get(&input.name) {
                Some(name) => Some(find(name).ok_or_else(|| FeedError::NoField {
                    field: name.clone(),
                    have: schema.iter().map(|field| field.name.clone()).collect(),
                })?),
                None => find(&input.name),
            };
            match field {
                Some(field) => pairs.push((input, field)),
                None => open.push(input),
            }
        }
        let left = |pairs: &[(&DataInput, &Field)]| -> Vec<&Field> {
            schema.iter().filter(|field| !pairs.iter().any(|(_, taken)| taken.name == field.name)).collect()
        };
        if let ([input], [field]) = (open.as_slice(), left(&pairs).as_slice()) {
            pairs.push((input, field));
            open.clear();
        }
        if let Some(input) = open.first() {
            let have = left(&pairs).iter().map(|field| field.name.clone()).collect();
            return Err(FeedError::Missing { input: input.name.clone(), have });
        }
        for (input, field) in &pairs {
            check(input, field)?;
        }
        let feeds = pairs.into_iter().map(|(input, field)| Feed { field: field.name.clone(), input: input.clone() });
        Ok(Self { feeds: feeds.collect() })
    }

    /// The field that feeds an input.
    pub fn field(&self, input: &str) -> Option<&str> {
        self.feeds.iter().find(|feed| feed.input.name == input).map(|feed| feed.field.as_str())
    }

    /// A batch of the data under the names and types of the inputs. Fields that feed nothing are
    /// left out; tensors that are named as inputs already stay.
    pub fn apply(&self, batch: &Tensors) -> Result<Tensors, FeedError> {
        let mut fed = Tensors::new();
        for feed in &self.feeds {
            let Some(tensor) = batch.get(&feed.field) else {
                let have = batch.iter().map(|(name, _)| name.to_owned()).collect();
                return Err(FeedError::NoField { field: feed.field.clone(), have });
            };
            fed.insert(&feed.input.name, self.convert(feed, tensor)?);
        }
        Ok(fed)
    }

    fn convert(&self, feed: &Feed, tensor: &Tensor) -> Result<Tensor, FeedError> {
        let mut shape = tensor.shape().to_vec();
        // A column of labels: an axis of one more than a loss over classes wants.
        if feed.input.rank.is_some_and(|rank| shape.len() == rank + 1) && shape.last() == Some(&1) {
            shape.pop();
        }
        if shape == tensor.shape() && tensor.element_type() == feed.input.element_type {
            return Ok(tensor.clone());
        }
        let mismatch = || FeedError::Type {
            field: feed.field.clone(),
            input: feed.input.name.clone(),
            want: feed.input.element_type,
            have: tensor.element_type(),
        };
        let same_bytes = tensor.bytes().filter(|_| tensor.element_type() == feed.input.element_type);
        let converted = match same_bytes {
            Some(bytes) => Some(Tensor::from_bytes(feed.input.element_type, shape, bytes.to_vec())),
            None => tensor.values().and_then(|values| Tensor::from_f64(feed.input.element_type, shape, &values)),
        };
        converted.and_then(Result::ok).ok_or_else(mismatch)
    }
}

fn check(input: &DataInput, field: &Field) -> Result<(), FeedError> {
    let rank = field.shape.len() + 1;
    let is_column = field.shape.last() == Some(&1) && input.rank == Some(rank - 1);
    if let Some(want) = input.rank
        && want != rank
        && !is_column
    {
        return Err(FeedError::Rank {
            field: field.name.clone(),
            input: input.name.clone(),
            want,
            have: field.shape.clone(),
        });
    }
    let is_float = |ty: ElementType| {
        matches!(ty, ElementType::Float | ElementType::Double | ElementType::Float16 | ElementType::Bfloat16)
    };
    // Whole numbers may become floats, floats never whole numbers.
    if is_float(field.element_type) && !is_float(input.element_type) {
        return Err(FeedError::Type {
            field: field.name.clone(),
            input: input.name.clone(),
            want: input.element_type,
            have: field.element_type,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, element_type: ElementType, shape: &[u64]) -> Field {
        Field { name: name.to_owned(), element_type, shape: shape.to_vec() }
    }

    fn input(name: &str, element_type: ElementType, rank: usize) -> DataInput {
        DataInput { name: name.to_owned(), element_type, rank: Some(rank) }
    }

    #[test]
    fn fields_feed_inputs_by_name_or_as_the_only_ones_left() {
        let schema = [field("pixels", ElementType::Float, &[3]), field("y", ElementType::Int32, &[1])];
        let inputs = [input("y", ElementType::Int64, 1), input("x", ElementType::Float, 2)];
        let feeds = Feeds::of(&schema, &inputs, &BTreeMap::new()).unwrap();
        assert_eq!((feeds.field("x"), feeds.field("y")), (Some("pixels"), Some("y")));
        let mut batch = Tensors::new();
        batch.insert("pixels", Tensor::from_f32(vec![2, 3], &[0.0; 6]).unwrap());
        batch.insert("y", Tensor::from_f64(ElementType::Int32, vec![2, 1], &[4.0, 5.0]).unwrap().unwrap());
        let fed = feeds.apply(&batch).unwrap();
        assert_eq!(fed.get("y"), Some(&Tensor::from_i64(vec![2], &[4, 5]).unwrap()));
        let given = BTreeMap::from([("x".to_owned(), "labels".to_owned())]);
        let error = Feeds::of(&schema, &inputs, &given).unwrap_err().to_string();
        assert_eq!(error, "the data has no `labels`, only `pixels`, `y`");
        let two = [input("a", ElementType::Float, 2), input("b", ElementType::Float, 2)];
        let error = Feeds::of(&schema, &two, &BTreeMap::new()).unwrap_err().to_string();
        assert_eq!(error, "nothing feeds input `a`: the data has `pixels`, `y`");
    }
}
