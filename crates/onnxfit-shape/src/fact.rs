//! What is known of one value: its type, its shape, and for small tensors its content.

use std::sync::Arc;

use onnxfit_base::Bytes;
use onnxfit_onnx::DataType;

use crate::expr::Expr;
use crate::scalar::Scalar;

/// Elements of one tensor whose content is followed; shapes and index vectors are far smaller.
pub(crate) const N_ELEMENTS_MAX: usize = 4096;
/// Dimensions of one tensor; ONNX Runtime itself handles far fewer.
pub(crate) const RANK_MAX: usize = 64;

/// What kind of thing a value is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Kind {
    /// Nothing is known.
    #[default]
    Unknown,
    /// A dense tensor.
    Tensor,
    /// A sparse tensor; its shape is that of the dense tensor it stands for.
    SparseTensor,
    /// A sequence.
    Sequence(Sequence),
    /// A value that may be absent.
    Optional(Box<Fact>),
    /// A map, or a type of another domain.
    Other,
}

/// What is known of a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sequence {
    /// What holds for every element.
    pub element: Box<Fact>,
    /// How many there are.
    pub length: Option<Expr>,
    /// The elements themselves, for a short sequence.
    pub items: Option<Vec<Fact>>,
}

/// The content of a tensor, as far as it is followed.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Each element in row-major order, known or not.
    Elements(Arc<[Option<Scalar>]>),
    /// All elements are the same, however many there are.
    Uniform(Scalar),
}

/// What is known of one value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fact {
    /// What it is.
    pub kind: Kind,
    /// The element type of a tensor.
    pub element_type: Option<DataType>,
    /// The shape of a tensor; `None` when even the rank is unknown.
    pub shape: Option<Vec<Expr>>,
    /// The content of a tensor.
    pub value: Option<Value>,
}

impl Fact {
    /// A tensor.
    pub fn tensor(element_type: Option<DataType>, shape: Option<Vec<Expr>>) -> Self {
        Self { kind: Kind::Tensor, element_type, shape, value: None }
    }

    /// The shape as numbers; `None` unless every dimension is one.
    pub fn concrete(&self) -> Option<Vec<u64>> {
        self.shape.as_ref()?.iter().map(|dim| u64::try_from(dim.as_constant()?).ok()).collect()
    }

    /// The rank, if it is known.
    pub fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(Vec::len)
    }

    /// How many elements there are.
    pub fn n_elements(&self) -> Option<Expr> {
        Expr::product(self.shape.as_ref()?)
    }

    /// How many bytes the elements take, packed types packed; `None` for texts, whose size is not
    /// in the type.
    pub fn bytes(&self) -> Option<Expr> {
        let bits = i64::try_from(self.element_type?.bits()).ok().filter(|bits| *bits > 0)?;
        self.n_elements()?.scale(bits)?.ceil_div(&Expr::constant(8))
    }

    /// How many bytes the elements take, as a number.
    pub fn concrete_bytes(&self) -> Option<Bytes> {
        u64::try_from(self.bytes()?.as_constant()?).ok().map(Bytes)
    }

    /// Whether kind, element type and every dimension are known numbers.
    pub fn is_concrete(&self) -> bool {
        self.element_type.is_some() && self.concrete().is_some()
    }

    /// The content element by element, for a tensor small enough to be followed.
    pub fn elements(&self) -> Option<Arc<[Option<Scalar>]>> {
        match self.value.as_ref()? {
            Value::Elements(elements) => Some(elements.clone()),
            Value::Uniform(scalar) => {
                let n_elements = usize::try_from(self.n_elements()?.as_constant()?).ok()?;
                (n_elements <= N_ELEMENTS_MAX).then(|| vec![Some(scalar.clone()); n_elements].into())
            }
        }
    }

    /// The content as whole numbers; an element that is unknown or no whole number is `None`.
    pub fn ints(&self) -> Option<Vec<Option<Expr>>> {
        let elements = self.elements()?;
        Some(elements.iter().map(|element| element.as_ref()?.as_expr().cloned()).collect())
    }

    /// The content as numbers, if every element is one.
    pub fn known_ints(&self) -> Option<Vec<i64>> {
        self.elements()?.iter().map(|element| element.as_ref()?.as_int()).collect()
    }

    /// The content as floating-point numbers, if every element is known.
    pub fn known_floats(&self) -> Option<Vec<f64>> {
        self.elements()?.iter().map(|element| element.as_ref()?.as_float()).collect()
    }

    /// The single element, of a tensor that has one.
    pub fn scalar(&self) -> Option<Scalar> {
        match self.value.as_ref()? {
            Value::Uniform(scalar) => Some(scalar.clone()),
            Value::Elements(elements) if elements.len() == 1 => elements[0].clone(),
            Value::Elements(_) => None,
        }
    }

    /// The same fact with this content; dropped if nothing of it is known or it is too long.
    #[must_use]
    pub(crate) fn with_elements(mut self, elements: Vec<Option<Scalar>>) -> Self {
        let is_useful =
            elements.len() <= N_ELEMENTS_MAX && (elements.is_empty() || elements.iter().any(Option::is_some));
        self.value = is_useful.then(|| Value::Elements(elements.into()));
        self
    }

    /// The same fact with this content.
    #[must_use]
    pub(crate) fn with_value(mut self, value: Option<Value>) -> Self {
        self.value = value;
        self
    }

    /// A sequence.
    pub(crate) fn sequence(element: Self, length: Option<Expr>, items: Option<Vec<Self>>) -> Self {
        Self { kind: Kind::Sequence(Sequence { element: Box::new(element), length, items }), ..Self::default() }
    }

    /// The sequence, if it is one.
    pub fn as_sequence(&self) -> Option<&Sequence> {
        match &self.kind {
            Kind::Sequence(sequence) => Some(sequence),
            _ => None,
        }
    }
}

impl Value {
    /// The element at a place of the row-major order.
    pub(crate) fn at(&self, index: usize) -> Option<&Scalar> {
        match self {
            Self::Elements(elements) => elements.get(index)?.as_ref(),
            Self::Uniform(scalar) => Some(scalar),
        }
    }
}
