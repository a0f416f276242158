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

/// A long name, escaped, that may be broken after its separators rather than anywhere.
pub(crate) struct Breakable<'a>(pub(crate) &'a str);

impl Display for Breakable<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['/', '.', '_', ':']) {
            write!(f, "{}", Escaped(part))?;
            if part.ends_with(['/', '.', '_', ':']) {
                f.write_str("<wbr>")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_breaks_after_its_separators_and_stays_escaped() {
        assert_eq!(Breakable("/a/b.c").to_string(), "/<wbr>a/<wbr>b.<wbr>c");
        assert_eq!(Breakable("<x>/y").to_string(), "&lt;x&gt;/<wbr>y");
    }
}
