//! Messages that come while others of their session wait.

use kennel_shared::ids::DeliveryId;

use super::{Applied, Closed, Rows, known, refuse};
use crate::{
    dispatch::gather::Gathered,
    journal::{
        entry::{NewDelivery, NewSend, Seq, Standing, State, UnixMs},
        op::{Acceptance, Answer, Beside, Refusal},
    },
};

/// Takes a message in beside another, if that still waits and no agent has seen it; else as one of its own.
pub(super) fn accept<R: Rows>(
    rows: &mut R,
    new: &NewDelivery,
    beside: Beside,
    notice: Option<&NewSend>,
    now: UnixMs,
) -> Applied<R> {
    if let Some(answer) = known(rows, new)? {
        return Ok(answer);
    }
    let other = match beside {
        Beside::Join { head, .. } => rows.delivery(head)?,
        Beside::Replace { oldest, .. } => rows.delivery(oldest)?,
        Beside::Refuse => None,
    };
    let other = other.filter(|other| is_untouched(other) && other.session == new.session);
    match (beside, other) {
        (Beside::Join { cap, drop, .. }, Some(head)) => {
            let mut all = Gathered::read(&rows.text(head.seq)?, &rows.sender(head.seq)?);
            let pushed = all.push(&new.sender, &new.text, cap, drop);
            let seq = rows.insert(new, now)?;
            if pushed.taken {
                rows.set_text(head.seq, &all.to_kept())?;
                rows.goes_on_as(seq, head.delivery)?;
                close(rows, seq, State::Gathered, now)?;
            } else {
                close(rows, seq, State::Dropped, now)?;
            }
            let notice = notice.filter(|_| pushed.dropped > 0);
            Ok(Answer::Beside {
                head: pushed.taken.then_some(head.delivery),
                notice: put(rows, notice, new, now)?,
            })
        }
        (Beside::Replace { summarize, .. }, Some(oldest)) => {
            let before = Gathered::read(&rows.text(oldest.seq)?, &rows.sender(oldest.seq)?);
            close(rows, oldest.seq, State::Dropped, now)?;
            let mut all = Gathered::read(&new.text, &new.sender);
            all.succeed(before, summarize);
            let seq = rows.insert(new, now)?;
            rows.set_text(seq, &all.to_kept())?;
            Ok(Answer::Replaced {
                seq,
                notice: put(rows, notice, new, now)?,
            })
        }
        (Beside::Refuse, _) => {
            let seq = rows.insert(new, now)?;
            close(rows, seq, State::Dropped, now)?;
            Ok(Answer::Beside {
                head: None,
                notice: put(rows, notice, new, now)?,
            })
        }
        (_, None) => Ok(Answer::Accepted(Acceptance::New(rows.insert(new, now)?))),
    }
}

/// Closes a delivery that an agent has taken into the turn of another.
pub(super) fn steered<R: Rows>(
    rows: &mut R,
    delivery: DeliveryId,
    into: DeliveryId,
    now: UnixMs,
) -> Applied<R> {
    let Some(found) = rows.delivery(delivery)? else {
        return refuse(Refusal::Unknown);
    };
    match found.state {
        State::Queued | State::Leased => {}
        State::Gathered => return Ok(Answer::Noted),
        state => return refuse(Refusal::State(state)),
    }
    // From one to the next there is always an end: what is pointed to points to none.
    let target = rows.delivery(into)?.filter(|target| {
        target.session == found.session
            && target.delivery != delivery
            && target.retried.is_none()
            && target.state != State::Gathered
    });
    if let Some(target) = target {
        rows.goes_on_as(found.seq, target.delivery)?;
    }
    let closed = Closed {
        state: State::Gathered,
        attempts: found.attempts,
        at: now,
        end: None,
        keep_answer: false,
    };
    rows.set_ended(found.seq, &closed)?;
    Ok(Answer::Noted)
}

/// Whether no agent has ever had it: what one has seen is not changed under it.
fn is_untouched(standing: &Standing) -> bool {
    standing.state == State::Queued && standing.lease.is_none() && standing.attempts == 0
}

fn close<R: Rows>(rows: &mut R, seq: Seq, state: State, now: UnixMs) -> Result<(), R::Error> {
    let closed = Closed {
        state,
        attempts: 0,
        at: now,
        end: None,
        keep_answer: false,
    };
    rows.set_ended(seq, &closed)
}

fn put<R: Rows>(
    rows: &mut R,
    notice: Option<&NewSend>,
    new: &NewDelivery,
    now: UnixMs,
) -> Result<Option<crate::journal::entry::SendId>, R::Error> {
    let put = notice.map(|notice| rows.insert_send(notice, Some(new.delivery), now));
    put.transpose()
}
