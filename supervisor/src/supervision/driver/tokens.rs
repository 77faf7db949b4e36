//! By what a child proves itself. Pure.
//!
//! Two tokens are good at any time: the one that the child holds, and the next, which it is given at its
//! next welcome. The digests of both are in the journal before the child can hold either, so that a
//! supervisor that dies at any point leaves behind what the one after it needs. A welcome never waits for
//! that: while the next one is not on disk, the child keeps the token it has.
//!
//! ```text
//!   good, and written down:   held, next
//!   welcome by held           gives next, if it is on disk, else held
//!   the child speaks          next becomes held; another next is made and written down
//! ```

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use kennel_shared::secret::Token;
use subtle::ConstantTimeEq;

use crate::journal::entry::{Digest, TokenDigests};

/// See the module.
#[derive(Debug)]
pub(super) struct Tokens {
    held: Digest,
    next: Digest,
    /// The next one itself; unknown of an adopted child until it has shown that it holds it.
    secret: Option<Token>,
    /// Whether the next one is on disk.
    on_disk: Arc<AtomicBool>,
    /// Whether it was given away.
    given: bool,
    /// Whether these are still to be written down.
    news: bool,
}

/// Tokens to be written down, and where to say that they are.
#[derive(Debug)]
pub(super) struct TokenNews {
    pub(super) tokens: TokenDigests,
    pub(super) on_disk: Arc<AtomicBool>,
}

impl Tokens {
    /// Of a child that was given `first`.
    pub(super) fn of_child(first: Token) -> Self {
        Self::holding(digest(&first))
    }

    /// Of a child that another supervisor has started.
    pub(super) fn adopted(written: TokenDigests) -> Self {
        Self {
            held: written.previous.unwrap_or(written.current),
            next: written.current,
            secret: None,
            on_disk: Arc::new(AtomicBool::new(true)),
            given: false,
            news: false,
        }
    }

    fn holding(held: Digest) -> Self {
        let next = Token::random();
        Self {
            held,
            next: digest(&next),
            secret: Some(next),
            on_disk: Arc::default(),
            given: false,
            news: true,
        }
    }

    /// Checks a token; gives the one to answer with.
    pub(super) fn check(&mut self, token: &Token) -> Option<Token> {
        let shown = digest(token);
        if same(shown, self.next) {
            // It was given, and the child has it: that is as good as a word.
            *self = Self::holding(shown);
            return Some(*token);
        }
        if !same(shown, self.held) {
            return None;
        }
        match self.secret.filter(|_| self.on_disk.load(Ordering::Acquire)) {
            Some(next) => {
                self.given = true;
                Some(next)
            }
            None => Some(*token),
        }
    }

    /// The child has spoken on the link that it was welcomed to.
    pub(super) fn spoken(&mut self) {
        if self.given {
            *self = Self::holding(self.next);
        }
    }

    /// What is to be written down, once.
    pub(super) fn news(&mut self) -> Option<TokenNews> {
        std::mem::take(&mut self.news).then(|| TokenNews {
            tokens: TokenDigests {
                current: self.next,
                previous: Some(self.held),
            },
            on_disk: Arc::clone(&self.on_disk),
        })
    }
}

fn digest(token: &Token) -> Digest {
    Digest::of(&[token.expose()])
}

fn same(one: Digest, other: Digest) -> bool {
    one.0.ct_eq(&other.0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A journal that writes what it is handed at once, or not at all.
    fn write(tokens: &mut Tokens, works: bool) -> Option<TokenDigests> {
        let news = tokens.news()?;
        news.on_disk.store(works, Ordering::Release);
        works.then_some(news.tokens)
    }

    #[test]
    fn tokens_rotate_once_they_are_on_disk() {
        let first = Token::random();
        let mut tokens = Tokens::of_child(first);
        assert_eq!(tokens.check(&first), Some(first), "not on disk yet");
        write(&mut tokens, true).unwrap();
        let second = tokens.check(&first).unwrap();
        assert_ne!(second, first);
        // The welcome may have been lost: both are good, and nothing else.
        assert_eq!(tokens.check(&first), Some(second));
        assert_eq!(tokens.check(&Token::random()), None);
        tokens.spoken();
        assert_eq!(tokens.check(&first), None, "it has the second");
        assert_eq!(tokens.check(&second), Some(second), "not on disk yet");
        write(&mut tokens, true).unwrap();
        assert!(tokens.news().is_none());
        assert_ne!(tokens.check(&second), Some(second));
    }

    /// Whenever the supervisor dies, the next one knows the token that the child holds.
    #[test]
    fn the_journal_always_knows_what_the_child_holds() {
        let mut dice = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let mut held = Token::random();
            let mut tokens = Tokens::of_child(held);
            let mut written = write(&mut tokens, true).unwrap();
            for _ in 0..dice.usize(..12) {
                match dice.u8(..4) {
                    0 => {
                        let given = tokens.check(&held).expect("it holds a good one");
                        if dice.bool() {
                            held = given;
                        }
                    }
                    // It speaks on a link whose welcome it has read.
                    1 => {
                        held = tokens.check(&held).expect("it holds a good one");
                        tokens.spoken();
                    }
                    _ => {
                        if let Some(now) = write(&mut tokens, dice.bool()) {
                            written = now;
                        }
                    }
                }
                let mut next = Tokens::adopted(written);
                assert!(next.check(&held).is_some(), "it is turned away");
                assert_eq!(next.check(&Token::random()), None);
            }
        }
    }
}
