//! The parsed template. It holds no values that change, so threads may share it.

use std::sync::Arc;

/// A name or a piece of text, shared with the values made from it.
pub(super) type Text = Arc<str>;

/// A statement and the line of the source it begins on, from 1.
#[derive(Debug)]
pub(super) struct Statement {
    pub line: usize,
    pub kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Text outside of tags.
    Text(Text),
    /// `{{ … }}`
    Emit(Expr),
    Set(Target, Expr),
    /// `{% set name %}…{% endset %}`
    SetBlock(Target, Vec<Statement>),
    /// The branches of `if` and `elif`, then what `else` holds.
    If(Vec<(Expr, Vec<Statement>)>, Vec<Statement>),
    For(For),
    Macro(Arc<Macro>),
    /// `{% filter name(…) %}…{% endfilter %}`
    Filter(Text, Arguments, Vec<Statement>),
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct For {
    /// More than one name unpacks each item.
    pub names: Vec<Text>,
    pub items: Expr,
    /// `for … if condition`
    pub condition: Option<Expr>,
    pub body: Vec<Statement>,
    /// Done when there was no item.
    pub otherwise: Vec<Statement>,
}

#[derive(Debug)]
pub(super) struct Macro {
    pub name: Text,
    pub parameters: Vec<(Text, Option<Expr>)>,
    pub body: Vec<Statement>,
}

/// What `set` assigns to.
#[derive(Debug)]
pub(super) enum Target {
    Names(Vec<Text>),
    /// A field of a namespace.
    Field(Text, Text),
}

#[derive(Debug)]
pub(super) enum Expr {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Text),
    Name(Text),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    /// `object.name`
    Field(Box<Expr>, Text),
    /// `object[index]`
    Item(Box<Expr>, Box<Expr>),
    /// `object[start:stop:step]`
    Slice(Box<Expr>, [Option<Box<Expr>>; 3]),
    Call(Box<Expr>, Arguments),
    Filter(Box<Expr>, Text, Arguments),
    /// `value is [not] name(…)`; the flag says `not`.
    Test(Box<Expr>, bool, Text, Arguments),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    /// `yes if condition else no`; in this order.
    Choice(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
    Concatenate,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub positional: Vec<Expr>,
    pub named: Vec<(Text, Expr)>,
}
