//! A place in a text, and the small things that can stand there.

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct TextError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What was expected, and what stands there.
    pub message: String,
}

/// Graphs in graphs and types in types, so that a hostile text cannot end the stack.
const NESTING_MAX: usize = 64;

/// One literal.
pub(super) enum Literal {
    Int(String),
    Float(String),
    String(String),
}

pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    pub(super) fn error(&self, message: impl Into<String>) -> TextError {
        let before = &self.text[..self.at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        TextError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
        }
    }

    /// Runs `inner` one level deeper.
    pub(super) fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, TextError>) -> Result<T, TextError> {
        if self.depth == NESTING_MAX {
            return Err(self.error(format!("nested more than {NESTING_MAX} deep")));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// What is left, blanks and `# comments` skipped.
    fn rest(&mut self) -> &'a str {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return trimmed;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    pub(super) fn peek(&mut self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn is_at_end(&mut self) -> bool {
        self.rest().is_empty()
    }

    /// Steps over `token` if it is next.
    pub(super) fn take(&mut self, token: &str) -> bool {
        let is_next = self.rest().starts_with(token);
        if is_next {
            self.at += token.len();
        }
        is_next
    }

    pub(super) fn expect(&mut self, token: &str) -> Result<(), TextError> {
        if self.take(token) { Ok(()) } else { Err(self.expected(&format!("`{token}`"))) }
    }

    /// An error at what is next.
    pub(super) fn expected(&mut self, what: &str) -> TextError {
        let found = match self.peek() {
            None => "the text ends".to_owned(),
            Some(other) => match self.peek_identifier() {
                "" => format!("found `{other}`"),
                word => format!("found `{word}`"),
            },
        };
        self.error(format!("expected {what}, {found}"))
    }

    /// The identifier that is next, or an empty one.
    pub(super) fn peek_identifier(&mut self) -> &'a str {
        let rest = self.rest();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        match rest.chars().next() {
            Some(first) if is_part(first) && !first.is_ascii_digit() => {
                &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())]
            }
            _ => "",
        }
    }

    pub(super) fn identifier(&mut self, what: &str) -> Result<&'a str, TextError> {
        let word = self.peek_identifier();
        if word.is_empty() {
            return Err(self.expected(what));
        }
        self.at += word.len();
        Ok(word)
    }

    /// A name, quoted where it is no identifier.
    pub(super) fn name(&mut self, what: &str) -> Result<String, TextError> {
        match self.peek() {
            Some('"') => self.string(),
            _ => self.identifier(what).map(str::to_owned),
        }
    }

    pub(super) fn string(&mut self) -> Result<String, TextError> {
        if self.peek() != Some('"') {
            return Err(self.expected("a quoted string"));
        }
        let mut value = String::new();
        let mut rest = self.text[self.at + 1..].char_indices();
        while let Some((offset, c)) = rest.next() {
            match c {
                '"' => {
                    self.at += 1 + offset + 1;
                    return Ok(value);
                }
                // A backslash stands before any character that is meant as itself.
                '\\' => value.extend(rest.next().map(|(_, escaped)| escaped)),
                _ => value.push(c),
            }
        }
        Err(self.error("a string without its closing quote"))
    }

    /// `inf`, `infinity` or `nan` in any case, perhaps after a sign.
    pub(super) fn is_at_float_word(&mut self) -> bool {
        let rest = self.rest();
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        ["inf", "infinity", "nan"].iter().any(|word| rest[..end].eq_ignore_ascii_case(word))
    }

    pub(super) fn literal(&mut self) -> Result<Literal, TextError> {
        if self.peek() == Some('"') {
            return self.string().map(Literal::String);
        }
        let is_word = self.is_at_float_word();
        let rest = self.rest();
        let sign = usize::from(rest.starts_with('-'));
        if is_word {
            let end = rest[sign..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |end| sign + end);
            self.at += end;
            return Ok(Literal::Float(rest[..end].to_ascii_lowercase()));
        }
        let bytes = rest.as_bytes();
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let mut end = digits(sign);
        if end == sign {
            return Err(self.expected("a value"));
        }
        let mut is_float = false;
        if bytes.get(end) == Some(&b'.') && bytes.get(end + 1) != Some(&b'.') {
            is_float = true;
            end = digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let stop = digits(end + 1 + sign);
            if stop == end + 1 + sign {
                return Err(self.error("an exponent without digits"));
            }
            is_float = true;
            end = stop;
        }
        self.at += end;
        let text = rest[..end].to_owned();
        Ok(if is_float { Literal::Float(text) } else { Literal::Int(text) })
    }

    /// A whole number that fits `T`.
    pub(super) fn int<T: std::str::FromStr>(&mut self) -> Result<T, TextError> {
        let before = (self.peek(), self.at).1;
        let number = match self.literal()? {
            Literal::Int(text) => text.parse().map_err(|_| format!("`{text}` is out of range")),
            Literal::Float(text) => Err(format!("expected a whole number, found `{text}`")),
            Literal::String(_) => Err("expected a whole number, found a string".to_owned()),
        };
        number.map_err(|message| {
            self.at = before;
            self.error(message)
        })
    }

    /// A number of any kind.
    pub(super) fn number<T: std::str::FromStr>(&mut self) -> Result<T, TextError> {
        let before = (self.peek(), self.at).1;
        let number = match self.literal()? {
            Literal::Int(text) | Literal::Float(text) => text.parse().map_err(|_| format!("`{text}` is no number")),
            Literal::String(_) => Err("expected a number, found a string".to_owned()),
        };
        number.map_err(|message| {
            self.at = before;
            self.error(message)
        })
    }

    /// `open item, item, … close`; a comma before `close` is allowed.
    pub(super) fn list(
        &mut self,
        open: &str,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Result<(), TextError>,
    ) -> Result<(), TextError> {
        self.expect(open)?;
        loop {
            if self.take(close) {
                return Ok(());
            }
            item(self)?;
            if !self.take(",") {
                return self.expect(close);
            }
        }
    }
}
