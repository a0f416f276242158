//! Typed indices, so that a node is never looked up by a value's number.

/// Declares a `u32` index with its own type.
#[macro_export]
macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// The id at a position of its table.
            pub fn new(index: usize) -> Self {
                Self(u32::try_from(index).expect("a graph has fewer than 2^32 parts"))
            }

            /// The position in its table.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}
