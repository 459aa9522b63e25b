//! Tokens into expressions, with Jinja's precedence: the functions stand in order, the weakest binding first.

use super::ast::{Arguments, Expr, Operator};
use super::lexer::TokenKind;
use super::parser::{Parsed, Parser};

impl Parser<'_> {
    /// An expression, or a tuple without parentheses.
    pub(super) fn tuple_or_expression(&mut self) -> Parsed<Expr> {
        let first = self.expression()?;
        if !self.is(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take(",") && self.begins_expression() {
            items.push(self.expression()?);
        }
        Ok(Expr::Tuple(items))
    }

    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        self.nested(|parser| {
            let mut value = parser.or()?;
            while parser.take_word("if") {
                let condition = parser.or()?;
                let otherwise = if parser.take_word("else") { Some(Box::new(parser.expression()?)) } else { None };
                value = Expr::Choice(Box::new(value), Box::new(condition), otherwise);
            }
            Ok(value)
        })
    }

    pub(super) fn or(&mut self) -> Parsed<Expr> {
        let mut left = self.and()?;
        while self.take_word("or") {
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed<Expr> {
        let mut left = self.not()?;
        while self.take_word("and") {
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Parsed<Expr> {
        if self.take_word("not") {
            return self.nested(|parser| Ok(Expr::Not(Box::new(parser.not()?))));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Parsed<Expr> {
        const OPERATORS: [(&str, Operator); 6] = [
            ("==", Operator::Equal),
            ("!=", Operator::Unequal),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let mut left = self.binary(0)?;
        loop {
            let operator = if let Some(row) = OPERATORS.iter().find(|row| self.is(row.0)) {
                self.at += 1;
                row.1
            } else if self.take_word("in") {
                Operator::In
            } else if self.is_word(0, "not") && self.is_word(1, "in") {
                self.at += 2;
                Operator::NotIn
            } else {
                return Ok(left);
            };
            left = Expr::Binary(operator, Box::new(left), Box::new(self.binary(0)?));
        }
    }

    /// Arithmetic, from the weakest level.
    fn binary(&mut self, level: usize) -> Parsed<Expr> {
        const LEVELS: [&[(&str, Operator)]; 3] = [
            &[("+", Operator::Add), ("-", Operator::Subtract)],
            &[("~", Operator::Concatenate)],
            &[
                ("*", Operator::Multiply),
                ("//", Operator::FloorDivide),
                ("/", Operator::Divide),
                ("%", Operator::Remainder),
            ],
        ];
        let Some(operators) = LEVELS.get(level) else { return self.power() };
        let mut left = self.binary(level + 1)?;
        while let Some(row) = operators.iter().find(|row| self.is(row.0)) {
            self.at += 1;
            left = Expr::Binary(row.1, Box::new(left), Box::new(self.binary(level + 1)?));
        }
        Ok(left)
    }

    fn power(&mut self) -> Parsed<Expr> {
        let base = self.unary(true)?;
        if self.take("**") {
            let exponent = self.nested(Self::power)?;
            return Ok(Expr::Binary(Operator::Power, Box::new(base), Box::new(exponent)));
        }
        Ok(base)
    }

    /// A sign binds stronger than a filter: `-n|abs` is `(-n)|abs`.
    fn unary(&mut self, with_filters: bool) -> Parsed<Expr> {
        let value = if self.take("-") {
            let inner = self.nested(|parser| parser.unary(false))?;
            Expr::Negate(Box::new(inner))
        } else if self.take("+") {
            self.nested(|parser| parser.unary(false))?
        } else {
            let primary = self.primary()?;
            self.postfix(primary)?
        };
        if with_filters { self.filters(value) } else { Ok(value) }
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let Some(kind) = self.peek(0).cloned() else { return Err(self.unexpected()) };
        self.at += 1;
        Ok(match kind {
            TokenKind::Name(name) => match name.as_str() {
                "true" | "True" => Expr::Bool(true),
                "false" | "False" => Expr::Bool(false),
                "none" | "None" => Expr::None,
                _ => Expr::Name(name.into()),
            },
            TokenKind::Int(value) => Expr::Int(value),
            TokenKind::Float(value) => Expr::Float(value),
            TokenKind::Text(mut text) => {
                // Strings that stand side by side are one.
                while let Some(TokenKind::Text(more)) = self.peek(0) {
                    text.push_str(more);
                    self.at += 1;
                }
                Expr::Text(text.into())
            }
            TokenKind::Sign("(") => {
                if self.take(")") {
                    return Ok(Expr::Tuple(Vec::new()));
                }
                let value = self.tuple_or_expression()?;
                self.sign(")")?;
                value
            }
            TokenKind::Sign("[") => Expr::List(self.sequence("]", Self::expression)?),
            TokenKind::Sign("{") => Expr::Map(self.sequence("}", |parser| {
                let key = parser.expression()?;
                parser.sign(":")?;
                Ok((key, parser.expression()?))
            })?),
            _ => {
                self.at -= 1;
                return Err(self.unexpected());
            }
        })
    }

    /// Items separated by commas, up to `end`.
    fn sequence<T>(&mut self, end: &str, item: impl Fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = Vec::new();
        while !self.take(end) {
            items.push(item(self)?);
            if !self.take(",") {
                self.sign(end)?;
                break;
            }
        }
        Ok(items)
    }

    fn postfix(&mut self, mut value: Expr) -> Parsed<Expr> {
        loop {
            if self.take(".") {
                value = match self.peek(0) {
                    // `list.0`
                    Some(&TokenKind::Int(index)) => {
                        self.at += 1;
                        Expr::Item(Box::new(value), Box::new(Expr::Int(index)))
                    }
                    _ => Expr::Field(Box::new(value), self.name()?),
                };
            } else if self.take("[") {
                value = self.subscript(value)?;
            } else if self.is("(") {
                value = Expr::Call(Box::new(value), self.optional_arguments()?);
            } else {
                return Ok(value);
            }
        }
    }

    fn subscript(&mut self, value: Expr) -> Parsed<Expr> {
        let mut bounds = [None, None, None];
        let mut colons = 0;
        while !self.take("]") {
            if self.take(":") {
                colons += 1;
                if colons > 2 {
                    return Err(self.unexpected());
                }
            } else if bounds[colons].is_none() {
                bounds[colons] = Some(Box::new(self.expression()?));
            } else {
                return Err(self.unexpected());
            }
        }
        match (colons, bounds) {
            (0, [Some(index), ..]) => Ok(Expr::Item(Box::new(value), index)),
            (0, _) => Err(self.unexpected()),
            (_, bounds) => Ok(Expr::Slice(Box::new(value), bounds)),
        }
    }

    fn filters(&mut self, mut value: Expr) -> Parsed<Expr> {
        loop {
            if self.take("|") {
                value = Expr::Filter(Box::new(value), self.name()?, self.optional_arguments()?);
                value = self.postfix(value)?;
            } else if self.take_word("is") {
                let negated = self.take_word("not");
                let name = self.name()?;
                let arguments = if self.is("(") || !self.begins_argument() {
                    self.optional_arguments()?
                } else {
                    // `is divisibleby 3`
                    let primary = self.primary()?;
                    Arguments { positional: vec![self.postfix(primary)?], named: Vec::new() }
                };
                value = Expr::Test(Box::new(value), negated, name, arguments);
            } else {
                return Ok(value);
            }
        }
    }

    /// `(a, b, name=c)`, or nothing.
    pub(super) fn optional_arguments(&mut self) -> Parsed<Arguments> {
        let mut arguments = Arguments::default();
        if !self.take("(") {
            return Ok(arguments);
        }
        while !self.take(")") {
            let named =
                matches!(self.peek(0), Some(TokenKind::Name(_))) && matches!(self.peek(1), Some(TokenKind::Sign("=")));
            if named {
                let name = self.name()?;
                self.at += 1;
                arguments.named.push((name, self.expression()?));
            } else {
                arguments.positional.push(self.expression()?);
            }
            if !self.take(",") {
                self.sign(")")?;
                break;
            }
        }
        Ok(arguments)
    }

    fn begins_expression(&self) -> bool {
        match self.peek(0) {
            Some(TokenKind::Sign(sign)) => ["(", "[", "{", "-", "+"].contains(sign),
            Some(TokenKind::Name(_) | TokenKind::Text(_) | TokenKind::Int(_) | TokenKind::Float(_)) => true,
            _ => false,
        }
    }

    /// Can this be the argument of a test that stands without parentheses?
    fn begins_argument(&self) -> bool {
        let follows = |name: &String| ["and", "or", "not", "if", "else", "is", "in"].contains(&name.as_str());
        match self.peek(0) {
            Some(TokenKind::Name(name)) => !follows(name),
            Some(TokenKind::Sign(sign)) => ["[", "{"].contains(sign),
            Some(TokenKind::Text(_) | TokenKind::Int(_) | TokenKind::Float(_)) => true,
            _ => false,
        }
    }
}
