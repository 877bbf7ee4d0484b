//! One Rust file, taken apart into the plain facts that the checks ask for.
//!
//! The facts are owned strings and numbers, so that one parse of the tree serves every check on every thread
//! (`syn`'s own trees cannot leave theirs). Must not judge anything: the checks do.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// One token with the line it starts on. A group's delimiters are tokens of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The token as written; one character for punctuation.
    pub text: String,
    /// Counted from 1.
    pub line: usize,
}

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name without the type or module it belongs to.
    pub name: String,
    /// The line of `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace, both included.
    pub lines: usize,
}

/// A `mod name;`, whose text is in another file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideModule {
    /// The inline modules around it, outermost first.
    pub inside: Vec<String>,
    /// Its name.
    pub name: String,
    /// The value of its `#[path]`.
    pub path: Option<String>,
}

/// The facts of one file.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// From the root of the checkout, with `/`.
    pub path: String,
    /// The whole text.
    pub text: String,
    /// All tokens in order; comments are not among them, doc comments are, as string literals.
    pub tokens: Vec<Token>,
    /// Functions, nested ones and methods included.
    pub functions: Vec<Function>,
    /// Modules whose text is elsewhere.
    pub modules: Vec<OutsideModule>,
    /// First and last lines of `#[cfg(test)] mod … { … }`, outermost only.
    pub test_blocks: Vec<(usize, usize)>,
}

/// A file that is not Rust, as far as the parser can tell.
#[derive(Debug, thiserror::Error)]
#[error("{path}:{line}: cannot be parsed as Rust: {reason}")]
pub struct ParseError {
    path: String,
    line: usize,
    reason: String,
}

impl Source {
    /// Takes `text`, the content of the file at `path`, apart.
    ///
    /// # Errors
    /// When the text is not a Rust file.
    pub fn parse(path: impl Into<String>, text: impl Into<String>) -> Result<Self, ParseError> {
        let (path, text) = (path.into(), text.into());
        let wrong = |error: syn::Error| ParseError {
            path: path.clone(),
            line: error.span().start().line,
            reason: error.to_string(),
        };
        let file = syn::parse_file(&text).map_err(wrong)?;
        // The same text again as bare tokens: macro bodies are opaque to the syntax tree, not to this.
        let stream: TokenStream = text.parse().map_err(|e| wrong(syn::Error::from(e)))?;
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        let mut collector = Collector::default();
        collector.visit_file(&file);
        let Collector { functions, modules, test_blocks, .. } = collector;
        Ok(Self { path, text, tokens, functions, modules, test_blocks })
    }

    /// Whether the line, counted from 1, belongs to the file's unit tests.
    pub fn is_test_line(&self, line: usize) -> bool {
        self.test_blocks.iter().any(|&(first, last)| (first..=last).contains(&line))
    }

    /// The lines on which the given texts stand as consecutive tokens.
    pub fn lines_with(&self, pattern: &[&str]) -> Vec<usize> {
        let matches = |window: &&[Token]| window.iter().zip(pattern).all(|(t, p)| t.text == *p);
        self.tokens.windows(pattern.len()).filter(matches).map(|window| window[0].line).collect()
    }
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                tokens.push(Token { text: open.to_owned(), line });
                flatten(group.stream(), tokens);
                let line = group.span_close().start().line;
                tokens.push(Token { text: close.to_owned(), line });
            }
            other => tokens.push(Token { text: other.to_string(), line }),
        }
    }
}

/// Walks the syntax tree and notes functions and modules.
#[derive(Default)]
struct Collector {
    /// Names of the inline modules around the current item.
    inside: Vec<String>,
    /// How many of them are `#[cfg(test)]`.
    test_depth: usize,
    functions: Vec<Function>,
    modules: Vec<OutsideModule>,
    test_blocks: Vec<(usize, usize)>,
}

impl Collector {
    fn note(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let line = signature.fn_token.span.start().line;
        let last = block.brace_token.span.close().end().line;
        let name = signature.ident.to_string();
        self.functions.push(Function { name, line, lines: last + 1 - line });
    }
}

impl<'a> Visit<'a> for Collector {
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.note(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.note(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.note(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        let Some((brace, _)) = &item.content else {
            let path = item.attrs.iter().find_map(path_attribute);
            let (inside, name) = (self.inside.clone(), item.ident.to_string());
            self.modules.push(OutsideModule { inside, name, path });
            return;
        };
        let test = item.attrs.iter().find(|attribute| is_cfg_test(attribute));
        if let (Some(attribute), 0) = (test, self.test_depth) {
            let first = attribute.pound_token.span.start().line;
            self.test_blocks.push((first, brace.span.close().end().line));
        }
        self.test_depth += usize::from(test.is_some());
        self.inside.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.inside.pop();
        self.test_depth -= usize::from(test.is_some());
    }
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
}

fn path_attribute(attribute: &syn::Attribute) -> Option<String> {
    if !attribute.path().is_ident("path") {
        return None;
    }
    match &attribute.meta.require_name_value().ok()?.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) => Some(path.value()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Source {
        Source::parse("sample.rs", text).expect("the sample is Rust")
    }

    #[test]
    fn functions_are_counted_from_fn_to_closing_brace_wherever_they_are() {
        let source = parse(
            "fn free() {}\nimpl A {\n    /// Doc.\n    pub fn method(\n        &self,\n    ) {\n    }\n}\n\
             trait T { fn provided() { fn nested() {} } fn required(); }\n",
        );
        let found: Vec<_> =
            source.functions.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(found, [("free", 1, 1), ("method", 4, 4), ("provided", 9, 1), ("nested", 9, 1)]);
    }

    #[test]
    fn only_modules_of_exactly_cfg_test_are_test_blocks() {
        let source = parse(
            "mod a {\n    #[cfg(test)]\n    mod tests {\n        #[cfg(test)]\n        mod inner {}\n    }\n}\n\
             #[cfg(not(test))]\nmod b {}\n",
        );
        assert_eq!(source.test_blocks, [(2, 6)]);
        assert!(source.is_test_line(5) && !source.is_test_line(7));
    }

    #[test]
    fn outside_modules_carry_what_is_around_them_and_their_path() {
        let source = parse("mod a { mod b; }\n#[path = \"elsewhere.rs\"]\nmod c;\n");
        let expected = [
            OutsideModule { inside: vec!["a".into()], name: "b".into(), path: None },
            OutsideModule { inside: vec![], name: "c".into(), path: Some("elsewhere.rs".into()) },
        ];
        assert_eq!(source.modules, expected);
    }

    #[test]
    fn tokens_inside_macros_are_seen_and_comments_are_not() {
        let source = parse("fn f() {\n    // a::b\n    m!(\n        a::b\n    );\n}\n");
        assert_eq!(source.lines_with(&["a", ":", ":", "b"]), [4]);
    }

    #[test]
    fn text_that_is_not_rust_is_an_error_with_its_line() {
        let error = Source::parse("sample.rs", "fn f() {}\nfn {").expect_err("not Rust");
        assert!(error.to_string().starts_with("sample.rs:2: "), "{error}");
    }
}
