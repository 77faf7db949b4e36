//! Who is entitled to how much: what there is, shared by weight, to nobody more than he wants; what somebody does not want is
//! the others' (weighted max-min fairness, as in D. Bertsekas and R. Gallager, "Data Networks", 6.5.2). Pure.

/// Somebody who wants something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) weight: f64,
    /// It is guaranteed so much, as far as it wants it.
    pub(super) least: f64,
    pub(super) wants: f64,
}

/// What each is entitled to of `all`.
pub(super) fn entitled(all: f64, wishes: &[Wish]) -> Vec<f64> {
    let wanted: f64 = wishes.iter().map(|wish| wish.wants).sum();
    if wanted <= all {
        return wishes.iter().map(|wish| wish.wants).collect();
    }
    // All but those who get what they want, or what they are guaranteed, get the same for each unit of weight.
    let at = |level: f64| wishes.iter().map(move |wish| part(wish, level));
    let highest = wishes.iter().map(|wish| wish.wants / wish.weight);
    let (mut low, mut high) = (0.0, highest.fold(0.0, f64::max));
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if at(middle).sum::<f64>() > all {
            high = middle;
        } else {
            low = middle;
        }
    }
    at(low).collect()
}

/// Halves an interval until nobody sees a difference.
const STEPS: usize = 50;

fn part(wish: &Wish, level: f64) -> f64 {
    (level * wish.weight).max(wish.least).min(wish.wants)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wish(weight: f64, least: f64, wants: f64) -> Wish {
        Wish {
            weight,
            least,
            wants,
        }
    }

    fn rounded(all: f64, wishes: &[Wish]) -> Vec<f64> {
        let parts = entitled(all, wishes).into_iter();
        parts.map(|part| (part * 1e6).round() / 1e6).collect()
    }

    #[test]
    fn what_one_does_not_want_is_the_others() {
        let (one, two) = (wish(100.0, 0.0, 9.0), wish(200.0, 0.0, 9.0));
        assert_eq!(rounded(6.0, &[one, two]), [2.0, 4.0]);
        let little = wish(200.0, 0.0, 1.0);
        assert_eq!(rounded(6.0, &[one, little]), [5.0, 1.0]);
        assert_eq!(rounded(20.0, &[one, little]), [9.0, 1.0]);
        let sure = wish(1.0, 3.0, 9.0);
        assert_eq!(rounded(6.0, &[one, sure]), [3.0, 3.0]);
        let unwilling = wish(1.0, 3.0, 0.5);
        assert_eq!(rounded(6.0, &[one, unwilling]), [5.5, 0.5]);
        assert_eq!(rounded(0.0, &[one]), [0.0]);
        assert!(entitled(1.0, &[]).is_empty());
    }

    proptest! {
        #[test]
        fn all_is_given_and_nobody_could_have_more_but_from_one_who_has_less(
            all in 0.0..20.0_f64,
            wishes in prop::collection::vec((1.0..100.0_f64, 0.0..10.0_f64), 1..8),
        ) {
            let wishes: Vec<Wish> =
                wishes.into_iter().map(|(weight, wants)| wish(weight, 0.0, wants)).collect();
            let parts = entitled(all, &wishes);
            let wanted: f64 = wishes.iter().map(|wish| wish.wants).sum();
            let given: f64 = parts.iter().sum();
            prop_assert!((given - all.min(wanted)).abs() < 1e-6);
            let level = parts.iter().zip(&wishes).map(|(part, wish)| part / wish.weight);
            let highest = level.fold(0.0, f64::max);
            for (part, wish) in parts.iter().zip(&wishes) {
                prop_assert!(*part <= wish.wants + 1e-9);
                let satisfied = wish.wants - part < 1e-6;
                prop_assert!(satisfied || part / wish.weight > highest - 1e-6);
            }
        }
    }
}
