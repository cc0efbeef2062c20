//! Expression text to tokens. Knows no meaning.

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
    Num(f64),
    Name(&'a str),
    /// An operator, a bracket or a comma.
    Sign(&'a str),
    End,
}

/// Operators, longer ones before those that they begin with.
const SIGNS: [&str; 19] =
    ["**", "<=", ">=", "==", "!=", "&&", "||", "+", "-", "*", "/", "%", "<", ">", "!", "(", ")", ",", "="];

#[derive(Debug, Clone)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

fn starts_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and where it is.
    ///
    /// # Errors
    /// Where and what cannot be read.
    pub fn next(&mut self) -> Result<(Token<'a>, std::ops::Range<usize>), (std::ops::Range<usize>, String)> {
        let blank = self.text[self.at..].len() - self.text[self.at..].trim_start().len();
        self.at += blank;
        let (start, rest) = (self.at, &self.text[self.at..]);
        let Some(first) = rest.chars().next() else { return Ok((Token::End, start..start)) };
        let take = |len: usize| (&rest[..len], start..start + len);
        if first.is_ascii_digit() || first == '.' {
            let (text, place) = take(number_length(rest));
            self.at = place.end;
            return match text.parse() {
                Ok(n) => Ok((Token::Num(n), place)),
                Err(_) => Err((place, format!("`{text}` is not a number"))),
            };
        }
        if starts_name(first) {
            let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
            let (text, place) = take(len.unwrap_or(rest.len()));
            self.at = place.end;
            return Ok((Token::Name(text), place));
        }
        if first == '`' {
            let Some(len) = rest[1..].find('`') else {
                return Err((start..self.text.len(), "the ` that ends this name is missing".to_owned()));
            };
            self.at += len + 2;
            return Ok((Token::Name(&rest[1..=len]), start..self.at));
        }
        match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => {
                let (text, place) = take(sign.len());
                self.at = place.end;
                Ok((Token::Sign(text), place))
            }
            None => Err((start..start + first.len_utf8(), format!("`{first}` has no meaning here"))),
        }
    }
}

fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(|b| b.is_ascii_digit() || *b == b'.') {
            at += 1;
        }
        at
    };
    let whole = digits(0);
    if !matches!(bytes.get(whole), Some(b'e' | b'E')) {
        return whole;
    }
    let sign = usize::from(matches!(bytes.get(whole + 1), Some(b'+' | b'-')));
    let exponent = digits(whole + 1 + sign);
    if exponent > whole + 1 + sign { exponent } else { whole }
}
