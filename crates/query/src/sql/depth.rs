//! How deep a statement may become, and chains of AND and OR that become shallow.
//!
//! The parser limits how deep brackets nest. It does not limit chains: `a + a + a …`, `… UNION ALL …`,
//! joins and CTEs that read each other nest as deep as they are long, in the tree of the statement and
//! again in its plan. Trees are copied, walked and dropped by recursion, and a stack that is used up
//! ends the process. So the depth is bounded before anything is parsed, from the tokens alone, and
//! never estimated too low.
//!
//! AND and OR are what programs generate by the thousand. How they are grouped makes no difference, so
//! that a long chain is made a tree of little depth, and only the number of its terms is bounded.

use std::mem;
use std::ops::ControlFlow;

use berglake_format::{Error, Result};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Query, Value, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Operators, set operations, joins and queries that build upon each other.
const MAX_DEPTH: usize = 500;

/// Terms that AND and OR join in one place. Until they are balanced they are as deep as they are many.
const MAX_TERMS: usize = 10_000;

/// Chains of more terms are balanced; others stay as they were written.
const LONG: usize = 16;

/// Refuses a statement that would become too deep.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) with the limit and the place.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut open: Vec<Group> = Vec::new();
    let mut group = Group::default();
    let (mut before, mut is_first) = (Keyword::NoKeyword, true);
    for (place, token) in tokens.iter().enumerate() {
        let word = keyword(token);
        let opens = match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => true,
            _ => word == Keyword::CASE,
        };
        let closes = match &token.token {
            Token::RParen | Token::RBracket | Token::RBrace => true,
            _ => word == Keyword::END && group.is_case,
        };
        if opens {
            // `a[1][1]` is a chain, too.
            group.operators += usize::from(token.token == Token::LBracket);
            open.push(mem::take(&mut group));
            group.is_case = word == Keyword::CASE;
        } else if closes {
            if let Some(outer) = open.pop() {
                let inner = mem::replace(&mut group, outer);
                group.close(inner);
            }
        } else if token.token == Token::Comma {
            group.relations += usize::from(group.in_from);
            group.separate();
        } else if let Token::Word(_) = token.token {
            let after = tokens.get(place + 1).map_or(Keyword::NoKeyword, keyword);
            group.word(word, before, after);
            group.is_query |= is_first && matches!(word, Keyword::FROM | Keyword::TABLE);
        } else if !is_value(&token.token) {
            group.operators += 1;
        }
        before = word;
        is_first = opens;
        if group.terms > MAX_TERMS {
            let what = format!("more than {MAX_TERMS} terms are joined by AND and OR");
            return Err(too_much(&what, token));
        }
        if group.depth() > MAX_DEPTH {
            let what = format!(
                "more than {MAX_DEPTH} operators, set operations, joins or queries build upon each other"
            );
            return Err(too_much(&what, token));
        }
    }
    Ok(())
}

fn too_much(what: &str, token: &TokenWithSpan) -> Error {
    Error::invalid(what)
        .with("line", token.span.start.line)
        .with("column", token.span.start.column)
        .help(
            "write a long list of values as IN (…), or as VALUES that are joined, or split the \
             statement",
        )
}

fn keyword(token: &TokenWithSpan) -> Keyword {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

/// Whether a token is a value rather than something between values.
fn is_value(token: &Token) -> bool {
    use Token as T;
    matches!(
        token,
        T::Number(..)
            | T::Placeholder(_)
            | T::SingleQuotedString(_)
            | T::DoubleQuotedString(_)
            | T::EscapedStringLiteral(_)
            | T::NationalStringLiteral(_)
            | T::HexStringLiteral(_)
            | T::SingleQuotedByteStringLiteral(_)
            | T::DoubleQuotedByteStringLiteral(_)
            | T::SingleQuotedRawStringLiteral(_)
            | T::DoubleQuotedRawStringLiteral(_)
    )
}

/// What stands between two brackets, or between CASE and END.
#[derive(Default)]
struct Group {
    is_case: bool,
    /// The operators of this expression, and the deepest bracket among them.
    operators: usize,
    brackets: usize,
    /// The deepest expression before this one.
    expressions: usize,
    /// What nests whatever stands between: set operations, joins, CTEs, windows, subqueries.
    relations: usize,
    /// AND and OR in this place.
    terms: usize,
    in_from: bool,
    in_with: bool,
    is_query: bool,
}

impl Group {
    fn depth(&self) -> usize {
        self.relations + self.expressions.max(self.operators + self.brackets)
    }

    /// An operand of AND or OR has ended: it nests in no other.
    fn operand(&mut self) {
        self.expressions = self.expressions.max(self.operators + self.brackets);
        (self.operators, self.brackets) = (0, 0);
    }

    /// An expression has ended.
    fn separate(&mut self) {
        self.operand();
        self.terms = 0;
    }

    /// A group inside of this one has ended.
    fn close(&mut self, inner: Self) {
        let depth = inner.depth() + 1;
        if self.in_with {
            // A CTE may read all those before it.
            self.relations += depth;
        } else {
            self.brackets = self.brackets.max(depth);
            // A subquery may become a join.
            self.relations += usize::from(inner.is_query);
        }
    }

    fn word(&mut self, word: Keyword, before: Keyword, after: Keyword) {
        use Keyword as K;
        match word {
            K::AND | K::OR => {
                self.terms += 1;
                self.operand();
            }
            K::SELECT | K::VALUES => {
                self.separate();
                self.is_query = true;
                (self.in_from, self.in_with) = (false, false);
            }
            // `a IS DISTINCT FROM b` is an operator.
            K::FROM if before == K::DISTINCT => self.operators += 1,
            K::FROM => {
                self.separate();
                (self.in_from, self.in_with) = (true, false);
            }
            // `TIMESTAMP WITH TIME ZONE` is a type.
            K::WITH if after == K::TIME => {}
            K::WITH => self.in_with = true,
            K::WHERE | K::GROUP | K::HAVING | K::ORDER | K::QUALIFY | K::LIMIT | K::WINDOW => {
                self.separate();
                self.in_from = false;
            }
            K::UNION | K::INTERSECT | K::EXCEPT | K::MINUS => {
                self.separate();
                self.relations += 1;
                self.in_from = false;
            }
            K::JOIN | K::APPLY | K::VIEW | K::PIVOT | K::UNPIVOT => {
                self.separate();
                self.relations += 1;
            }
            // Each window is a step of the plan, and an operand of XOR may hold an AND.
            K::OVER | K::XOR => self.relations += 1,
            K::ON | K::USING => self.separate(),
            K::WHEN | K::THEN | K::ELSE if self.is_case => self.separate(),
            K::LIKE
            | K::ILIKE
            | K::RLIKE
            | K::REGEXP
            | K::SIMILAR
            | K::IN
            | K::BETWEEN
            | K::IS
            | K::DIV
            | K::AT
            | K::COLLATE
            | K::OVERLAPS
            | K::OPERATOR
            | K::MEMBER
            | K::NOTNULL
            | K::NOT => self.operators += 1,
            _ => {}
        }
    }
}

/// Makes shallow trees of long chains of AND and of OR. What is computed stays the same, from left to
/// right, too.
pub(super) fn balance(query: &mut Query) {
    let _ = query.visit(&mut Balance);
}

struct Balance;

impl VisitorMut for Balance {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::BinaryOp { op, .. } = expr
            && matches!(op, BinaryOperator::And | BinaryOperator::Or)
        {
            let op = op.clone();
            if chain(expr, &op) > LONG {
                let terms = terms(mem::replace(expr, Expr::value(Value::Null)), &op);
                *expr = tree(terms, &op);
            }
        }
        ControlFlow::Continue(())
    }
}

/// The length of a chain, which the parser makes to the left.
fn chain(expr: &Expr, of: &BinaryOperator) -> usize {
    let (mut length, mut rest) = (1, expr);
    while let Expr::BinaryOp { left, op, .. } = rest
        && op == of
    {
        length += 1;
        rest = left;
    }
    length
}

fn terms(chain: Expr, of: &BinaryOperator) -> Vec<Expr> {
    let (mut terms, mut rest) = (Vec::new(), chain);
    loop {
        match rest {
            Expr::BinaryOp { left, op, right } if op == *of => {
                terms.push(*right);
                rest = *left;
            }
            first => {
                terms.push(first);
                terms.reverse();
                return terms;
            }
        }
    }
}

fn tree(mut terms: Vec<Expr>, of: &BinaryOperator) -> Expr {
    while terms.len() > 1 {
        let mut pairs = Vec::with_capacity(terms.len().div_ceil(2));
        let mut rest = terms.into_iter();
        while let Some(left) = rest.next() {
            pairs.push(match rest.next() {
                Some(right) => Expr::BinaryOp {
                    left: Box::new(left),
                    op: of.clone(),
                    right: Box::new(right),
                },
                None => left,
            });
        }
        terms = pairs;
    }
    terms.pop().unwrap_or_else(|| Expr::value(Value::Null))
}

#[cfg(test)]
mod tests {
    use super::super::{Statement, parse};
    use super::*;

    fn repeated(first: &str, more: &str, times: usize) -> String {
        format!("{first}{}", more.repeat(times))
    }

    #[test]
    fn what_nests_is_bounded_and_what_lies_side_by_side_is_not() {
        let deep = MAX_DEPTH + 1;
        for text in [
            repeated("SELECT 1", " + 1", deep),
            repeated("SELECT 1", "::INT", deep),
            repeated("SELECT a", "[1]", deep),
            repeated("SELECT a", " IS NULL", deep),
            repeated("SELECT a", " IS DISTINCT FROM a", deep),
            repeated("SELECT a", " AT TIME ZONE 'UTC'", deep),
            repeated("SELECT a", " XOR a AND a", deep),
            repeated("SELECT 1, 2", " UNION ALL SELECT 1, 2", deep),
            repeated("SELECT 1", " EXCEPT SELECT 1 WHERE a = 1", deep),
            repeated("SELECT * FROM t", " JOIN t USING (a, b)", deep),
            repeated("SELECT * FROM t", ", t", deep),
            repeated(
                "SELECT * FROM t WHERE a IN (SELECT 1)",
                " AND a IN (SELECT 1)",
                deep,
            ),
            repeated("SELECT 1", ", sum(a) OVER (ORDER BY b)", deep),
            format!(
                "SELECT CAST(1 AS {}INT{})",
                "ARRAY<".repeat(deep),
                ">".repeat(deep)
            ),
            format!(
                "WITH {} SELECT 1",
                repeated("a AS (SELECT 1)", ", a AS (SELECT * FROM a)", deep)
            ),
            // Part of it in one place and part of it in another.
            format!(
                "SELECT 1 + ({}){}",
                repeated("1", " + 1", deep / 2),
                " + 1".repeat(deep / 2)
            ),
            format!(
                "SELECT CASE WHEN true THEN {} END{}",
                repeated("1", " + 1", deep / 2),
                " + 1".repeat(deep / 2)
            ),
            repeated("SELECT a", " OR a", MAX_TERMS + 1),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains("more than"), "{text}: {error}");
            assert!(error.contains("(line: 1, column: "), "{text}: {error}");
            assert!(error.contains("IN (…)"), "{text}: {error}");
        }
        for text in [
            repeated("SELECT 1", ", 1 + 1", 5_000),
            repeated("SELECT f(1)", ", f(1 + 1)", 5_000),
            repeated(
                "SELECT * FROM t WHERE a = 1",
                " OR a = 1 AND (b + 1 < 2)",
                4_000,
            ),
            repeated("SELECT * FROM t WHERE a IN (1", ", -1", 5_000) + ")",
            repeated("VALUES (1, 'a' || 'b')", ", (1, 'a' || 'b')", 5_000),
            repeated("SELECT CASE", " WHEN a = 1 THEN b + 1", 5_000) + " END",
        ] {
            parse(&text).unwrap();
        }
    }

    #[test]
    fn long_chains_of_terms_become_shallow_and_keep_their_order() {
        fn depth(expr: &Expr) -> usize {
            match expr {
                Expr::BinaryOp { left, right, .. } => 1 + depth(left).max(depth(right)),
                _ => 0,
            }
        }
        let names: Vec<String> = (0..1_000).map(|i| format!("a{i}")).collect();
        for op in ["AND", "OR"] {
            let text = format!("SELECT {}", names.join(&format!(" {op} ")));
            let Some(Statement::Query(query)) = parse(&text).unwrap().pop() else {
                panic!("no query");
            };
            assert_eq!(query.to_string(), text);
            let select = query.body.as_select().unwrap();
            let datafusion::sql::sqlparser::ast::SelectItem::UnnamedExpr(expr) =
                &select.projection[0]
            else {
                panic!("no expression");
            };
            assert_eq!(depth(expr), 10);
        }
    }
}
