//! From text to a [`Program`], by precedence climbing, with the kind of every part known, so that what makes no sense
//! is told with its place and not found at run time.

use std::ops::Range;

use super::lex::{Lexer, Token};
use super::{DEPTH, Kind, LONGEST, Op, Program};
use crate::point::PointId;

/// Most brackets within each other.
const NESTED: usize = 40;

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wrong {
    /// Bytes of the text.
    pub place: Range<usize>,
    pub message: String,
    pub label: String,
    pub help: Option<String>,
}

fn wrong(place: Range<usize>, message: impl Into<String>, label: impl Into<String>) -> Wrong {
    Wrong { place, message: message.into(), label: label.into(), help: None }
}

/// What names stand for.
pub(crate) trait Names {
    /// A point and whether it is a bool, or what is wrong with the name and what to write.
    fn point(&self, name: &str) -> Result<(PointId, Kind), (String, String)>;
    /// A variable of this place, such as `value`.
    fn var(&self, name: &str) -> Option<(u8, Kind)>;
}

/// Reads an expression.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn parse(text: &str, names: &dyn Names) -> Result<Program, Wrong> {
    let mut parser = Parser {
        lexer: Lexer::new(text),
        names,
        token: Token::End,
        place: 0..0,
        before: 0..0,
        ops: vec![],
        depth: 0,
        deepest: 0,
        nested: 0,
    };
    parser.step()?;
    if parser.token == Token::End {
        return Err(wrong(0..text.len(), "an expression is missing", "this is empty"));
    }
    let (kind, _) = parser.expression(0)?;
    if parser.token != Token::End {
        return Err(parser.unexpected("an operator"));
    }
    if parser.ops.len() > LONGEST || parser.deepest > DEPTH {
        return Err(wrong(0..text.len(), "this expression is too long", "split it over several points"));
    }
    Ok(Program { ops: parser.ops.into(), kind })
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    names: &'a dyn Names,
    token: Token<'a>,
    place: Range<usize>,
    /// Place of the token before.
    before: Range<usize>,
    ops: Vec<Op>,
    depth: usize,
    deepest: usize,
    nested: usize,
}

/// The kind of a part, and where it is.
type Part = (Kind, Range<usize>);

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

/// Operators: name, how strongly they bind, what they take, what they give. `-2 ** 2` is -4 and `2 ** 3 ** 2` is 512,
/// as in mathematics.
type Binary = (&'static str, u8, Option<Kind>, Kind, fn(f64, f64) -> f64);
const BINARY: [Binary; 16] = {
    use Kind::{Bool, Number};
    [
        ("or", 1, Some(Bool), Bool, |a, b| flag(a != 0.0 || b != 0.0)),
        ("||", 1, Some(Bool), Bool, |a, b| flag(a != 0.0 || b != 0.0)),
        ("and", 2, Some(Bool), Bool, |a, b| flag(a != 0.0 && b != 0.0)),
        ("&&", 2, Some(Bool), Bool, |a, b| flag(a != 0.0 && b != 0.0)),
        ("==", 4, None, Bool, |a, b| flag(a == b)),
        ("!=", 4, None, Bool, |a, b| flag(a != b)),
        ("<=", 4, Some(Number), Bool, |a, b| flag(a <= b)),
        (">=", 4, Some(Number), Bool, |a, b| flag(a >= b)),
        ("<", 4, Some(Number), Bool, |a, b| flag(a < b)),
        (">", 4, Some(Number), Bool, |a, b| flag(a > b)),
        ("+", 5, Some(Number), Number, |a, b| a + b),
        ("-", 5, Some(Number), Number, |a, b| a - b),
        ("*", 6, Some(Number), Number, |a, b| a * b),
        ("/", 6, Some(Number), Number, |a, b| a / b),
        ("%", 6, Some(Number), Number, libm::fmod),
        ("**", 8, Some(Number), Number, libm::pow),
    ]
};
const NOT: u8 = 3;
const MINUS: u8 = 7;

type One = fn(f64) -> f64;
type Two = fn(f64, f64) -> f64;
const ONE: [(&str, One); 15] = [
    ("abs", libm::fabs),
    ("sqrt", libm::sqrt),
    ("exp", libm::exp),
    ("ln", libm::log),
    ("log10", libm::log10),
    ("sin", libm::sin),
    ("cos", libm::cos),
    ("tan", libm::tan),
    ("asin", libm::asin),
    ("acos", libm::acos),
    ("atan", libm::atan),
    ("floor", libm::floor),
    ("ceil", libm::ceil),
    ("round", libm::round),
    ("sign", |x| {
        if x > 0.0 {
            1.0
        } else if x < 0.0 {
            -1.0
        } else {
            0.0
        }
    }),
];
const TWO: [(&str, Two); 5] = [
    ("min", libm::fmin),
    ("max", libm::fmax),
    ("mod", |a, b| a - b * libm::floor(a / b)),
    ("atan2", libm::atan2),
    ("pow", libm::pow),
];

fn clamp(x: f64, low: f64, high: f64) -> f64 {
    x.max(low).min(high)
}

fn pick(condition: f64, yes: f64, no: f64) -> f64 {
    if condition != 0.0 { yes } else { no }
}

fn bit(x: f64, n: f64) -> f64 {
    // A cast of what is no whole number of 64 bits gives the nearest one.
    let n = n as u32;
    flag(n < 64 && (x as i64) >> n & 1 == 1)
}

impl<'a> Parser<'a> {
    fn step(&mut self) -> Result<(), Wrong> {
        let (token, place) =
            self.lexer.next().map_err(|(place, why)| wrong(place, "this cannot be read", why))?;
        self.before = std::mem::replace(&mut self.place, place);
        self.token = token;
        Ok(())
    }

    fn unexpected(&self, wanted: &str) -> Wrong {
        let (message, place) = match self.token {
            Token::End => ("the expression ends too early".to_owned(), self.before.clone()),
            Token::Sign("=") => {
                let mut wrong = wrong(self.place.clone(), "`=` compares nothing", "write == here");
                wrong.help = Some("an expression sets nothing; `==` compares".to_owned());
                return wrong;
            }
            Token::Num(_) => ("a number is out of place".to_owned(), self.place.clone()),
            Token::Name(name) | Token::Sign(name) => {
                (format!("`{name}` is out of place"), self.place.clone())
            }
        };
        wrong(place, message, format!("{wanted} should stand here"))
    }

    fn push(&mut self, op: Op, takes: usize) {
        self.ops.push(op);
        self.depth = self.depth + 1 - takes;
        self.deepest = self.deepest.max(self.depth);
    }

    fn wants(kind: Kind, (is, place): &Part) -> Result<(), Wrong> {
        if kind == *is {
            return Ok(());
        }
        let (message, label, help) = match kind {
            Kind::Number => (
                "a number is wanted, and this is true or false",
                "true or false",
                "num(x) is 1 for true and 0 for false",
            ),
            Kind::Bool => ("true or false is wanted, and this is a number", "a number", "compare: x != 0"),
        };
        let mut wrong = wrong(place.clone(), message, label);
        wrong.help = Some(help.to_owned());
        Err(wrong)
    }

    fn expression(&mut self, least: u8) -> Result<Part, Wrong> {
        self.nested += 1;
        if self.nested > NESTED {
            return Err(wrong(self.place.clone(), "too deep", "too many brackets within each other"));
        }
        let part = self.climb(least);
        self.nested -= 1;
        part
    }

    fn climb(&mut self, least: u8) -> Result<Part, Wrong> {
        let mut left = self.unary()?;
        while let Token::Sign(sign) | Token::Name(sign) = self.token
            && let Some((_, binds, takes, gives, f)) =
                BINARY.into_iter().find(|(name, binds, ..)| *name == sign && *binds >= least)
        {
            self.step()?;
            let right = self.expression(if sign == "**" { binds } else { binds + 1 })?;
            match takes {
                Some(kind) => {
                    Self::wants(kind, &left)?;
                    Self::wants(kind, &right)?;
                }
                None => Self::wants(left.0, &right)?,
            }
            if binds == 4
                && let Token::Sign("<" | "<=" | ">" | ">=" | "==" | "!=") = self.token
            {
                let label = "write a < b and b < c";
                return Err(wrong(self.place.clone(), "comparisons cannot be chained", label));
            }
            self.push(Op::Two(f), 2);
            left = (gives, left.1.start..right.1.end);
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Part, Wrong> {
        let (start, token) = (self.place.clone(), self.token);
        let (kind, binds, f): (_, _, fn(f64) -> f64) = match token {
            Token::Sign("-") => (Kind::Number, MINUS, |x| -x),
            Token::Sign("+") => (Kind::Number, MINUS, |x| x),
            Token::Sign("!") => (Kind::Bool, MINUS, |x| flag(x == 0.0)),
            Token::Name("not") => (Kind::Bool, NOT, |x| flag(x == 0.0)),
            _ => return self.atom(),
        };
        self.step()?;
        let part = self.expression(binds)?;
        Self::wants(kind, &part)?;
        self.push(Op::One(f), 1);
        Ok((kind, start.start..part.1.end))
    }

    fn atom(&mut self) -> Result<Part, Wrong> {
        let (token, place) = (self.token, self.place.clone());
        match token {
            Token::Num(n) => {
                self.step()?;
                self.push(Op::Num(n), 0);
                Ok((Kind::Number, place))
            }
            Token::Sign("(") => {
                self.step()?;
                let (kind, _) = self.expression(0)?;
                let end = self.close(&place)?;
                Ok((kind, place.start..end))
            }
            Token::Name("and" | "or") => Err(self.unexpected("a number, a point or a bracket")),
            Token::Name(name) => {
                self.step()?;
                if self.token == Token::Sign("(") {
                    return self.call(name, place);
                }
                self.named(name, place)
            }
            _ => Err(self.unexpected("a number, a point or a bracket")),
        }
    }

    fn close(&mut self, open: &Range<usize>) -> Result<usize, Wrong> {
        if self.token == Token::Sign(")") {
            let end = self.place.end;
            self.step()?;
            return Ok(end);
        }
        if self.token == Token::End {
            return Err(wrong(open.clone(), "a bracket is not closed", "this one"));
        }
        Err(self.unexpected("an operator or `)`"))
    }

    fn named(&mut self, name: &str, place: Range<usize>) -> Result<Part, Wrong> {
        let (op, kind) = if let Some((var, kind)) = self.names.var(name) {
            (Op::Var(var), kind)
        } else {
            match name {
                "true" => (Op::Num(1.0), Kind::Bool),
                "false" => (Op::Num(0.0), Kind::Bool),
                "pi" => (Op::Num(std::f64::consts::PI), Kind::Number),
                "t" => (Op::Time, Kind::Number),
                _ => match self.names.point(name) {
                    Ok((id, kind)) => (Op::Point(id), kind),
                    Err((label, help)) => {
                        let mut wrong = wrong(place, format!("unknown name `{name}`"), label);
                        wrong.help = Some(help).filter(|h| !h.is_empty());
                        return Err(wrong);
                    }
                },
            }
        };
        self.push(op, 0);
        Ok((kind, place))
    }

    fn call(&mut self, name: &str, place: Range<usize>) -> Result<Part, Wrong> {
        let open = self.place.clone();
        self.step()?;
        let mut parts = vec![];
        while self.token != Token::Sign(")") {
            parts.push(self.expression(0)?);
            match self.token {
                Token::Sign(",") => self.step()?,
                Token::Sign(")") => {}
                Token::End => return Err(wrong(open, "a bracket is not closed", "this one")),
                _ => return Err(self.unexpected("`,` or `)`")),
            }
        }
        let whole = place.start..self.place.end;
        self.step()?;
        let count = |n: usize| {
            let label = format!("{name} takes {n}");
            if parts.len() == n {
                Ok(())
            } else {
                Err(wrong(whole.clone(), format!("{} values for {name}", parts.len()), label))
            }
        };
        let numbers = || parts.iter().try_for_each(|part| Self::wants(Kind::Number, part));
        if let Some((_, f)) = ONE.iter().find(|(n, _)| *n == name) {
            count(1)?;
            numbers()?;
            self.push(Op::One(*f), 1);
            return Ok((Kind::Number, whole));
        }
        if let Some((_, f)) = TWO.iter().find(|(n, _)| *n == name) {
            count(2)?;
            numbers()?;
            self.push(Op::Two(*f), 2);
            return Ok((Kind::Number, whole));
        }
        let kind = match name {
            "num" => {
                count(1)?;
                Self::wants(Kind::Bool, &parts[0])?;
                Kind::Number
            }
            "clamp" => {
                count(3)?;
                numbers()?;
                self.push(Op::Three(clamp), 3);
                Kind::Number
            }
            "bit" => {
                count(2)?;
                numbers()?;
                self.push(Op::Two(bit), 2);
                Kind::Bool
            }
            "if" => {
                count(3)?;
                Self::wants(Kind::Bool, &parts[0])?;
                Self::wants(parts[1].0, &parts[2])?;
                self.push(Op::Three(pick), 3);
                parts[1].0
            }
            _ => {
                let mut wrong = wrong(place, format!("unknown function `{name}`"), "no such function");
                let mut known: Vec<&str> = ONE.iter().map(|f| f.0).chain(TWO.iter().map(|f| f.0)).collect();
                known.extend(["clamp", "if", "bit", "num"]);
                wrong.help = Some(format!("known functions: {}", known.join(", ")));
                return Err(wrong);
            }
        };
        Ok((kind, whole))
    }
}
