//! Text that is safe in HTML, as content and inside quoted attributes.

use std::fmt::{self, Display, Formatter, Write};

/// Shows a value with everything escaped that could end a text or an attribute.
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaper(f), "{}", self.0)
    }
}

struct Escaper<'a, 'b>(&'a mut Formatter<'b>);

impl Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                // No text may smuggle control characters into the page.
                character if character.is_control() && character != '\n' => self.0.write_str("\u{fffd}")?,
                character => self.0.write_char(character)?,
            }
        }
        Ok(())
    }
}
