//! What tokens cost, in millionths of a unit of whatever money the configuration means. Whole numbers throughout, so that
//! sums do not drift.

use std::collections::BTreeMap;

const MILLION: u128 = 1_000_000;

/// What a million tokens of a model cost, in millionths of a unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Price {
    /// That it reads.
    pub input: u64,
    /// That it writes.
    pub output: u64,
}

impl Price {
    /// What so many tokens cost, to the nearest millionth.
    pub fn of(self, input: u32, output: u32) -> u64 {
        let exact = u128::from(self.input) * u128::from(input)
            + u128::from(self.output) * u128::from(output);
        u64::try_from((exact + MILLION / 2) / MILLION).unwrap_or(u64::MAX)
    }
}

/// The price of each model, by `provider/model`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices(BTreeMap<String, Price>);

impl Prices {
    /// What so many tokens of a model cost; `None` when it has no price.
    pub fn cost(&self, model: &str, input: u32, output: u32) -> Option<u64> {
        self.0.get(model).map(|price| price.of(input, output))
    }
}

impl FromIterator<(String, Price)> for Prices {
    fn from_iter<I: IntoIterator<Item = (String, Price)>>(prices: I) -> Self {
        Self(prices.into_iter().collect())
    }
}

/// Money as people read it: units, with as many places as there are, at least two.
pub fn money(micros: u64) -> String {
    let (units, rest) = (micros / 1_000_000, micros % 1_000_000);
    let rest = format!("{rest:06}");
    let places = rest.trim_end_matches('0').len().max(2);
    format!("{units}.{}", &rest[..places])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_whole_and_exact() {
        let price = Price {
            input: 3_000_000,
            output: 15_000_000,
        };
        assert_eq!(price.of(1_000_000, 0), 3_000_000);
        assert_eq!(price.of(1000, 200), 6000);
        let cheap = Price {
            input: 150_000,
            output: 0,
        };
        assert_eq!(cheap.of(3, 0), 0, "0.45");
        assert_eq!(cheap.of(10, 0), 2, "1.5");
        let dear = Price {
            input: u64::MAX,
            output: u64::MAX,
        };
        assert_eq!(dear.of(u32::MAX, u32::MAX), u64::MAX);
    }

    #[test]
    fn a_model_without_a_price_has_no_cost() {
        let prices: Prices = [("p/m".to_owned(), Price::default())].into_iter().collect();
        assert_eq!(prices.cost("p/m", 1, 1), Some(0));
        assert_eq!(prices.cost("p/n", 1, 1), None);
    }

    #[test]
    fn money_reads_as_it_is_written() {
        let cases = [
            (0, "0.00"),
            (1, "0.000001"),
            (6_000, "0.006"),
            (1_500_000, "1.50"),
            (12_345_678, "12.345678"),
        ];
        for (micros, text) in cases {
            assert_eq!(money(micros), text);
        }
    }
}
