//! Merging what a rule infers into what the file declares (`mergeInShapeInfo`, ONNX 1.2x).

use super::Shape;
use crate::program::DeclaredDim;

/// The declared shape, improved by the inferred one; where they contradict, the unsure part of both.
pub(super) fn merge(inferred: &[DeclaredDim], mut declared: Shape) -> Option<Shape> {
    if declared.len() != inferred.len() {
        return None;
    }
    let contradicts = declared.iter().zip(inferred).any(
        |dims| matches!(dims, (DeclaredDim::Value(declared), DeclaredDim::Value(inferred)) if declared != inferred),
    );
    if contradicts {
        return Some(union(&declared, inferred));
    }
    for (declared, inferred) in declared.iter_mut().zip(inferred) {
        merge_dim(inferred, declared);
    }
    Some(declared)
}

/// A number beats a name, a name beats nothing, and of two names the declared one stays.
pub(super) fn merge_dim(inferred: &DeclaredDim, declared: &mut DeclaredDim) {
    match (&*declared, inferred) {
        (_, DeclaredDim::Value(_)) | (DeclaredDim::Unknown, _) => declared.clone_from(inferred),
        _ => {}
    }
}

/// What two shapes of one rank agree on (`UnionShapeInfo`).
pub(super) fn union(left: &[DeclaredDim], right: &[DeclaredDim]) -> Shape {
    left.iter()
        .zip(right)
        .map(|(left, right)| if left == right { left.clone() } else { DeclaredDim::Unknown })
        .collect()
}
