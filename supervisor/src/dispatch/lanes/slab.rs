//! Values by small numbers that are used again: what many places refer to, without a name that is kept many times.

/// See the module.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// Keeps a value; the number is its own until [`Slab::take`].
    pub(super) fn put(&mut self, value: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self.places[number as usize] = Some(value);
            return number;
        }
        let number = u32::try_from(self.places.len()).expect("fewer than four billion at once");
        self.places.push(Some(value));
        number
    }

    /// Gives a value back.
    pub(super) fn take(&mut self, number: u32) -> T {
        let value = self.places[number as usize].take();
        self.free.push(number);
        if self.free.len() == self.places.len() {
            // What was large once need not stay so.
            *self = Self::default();
        }
        value.expect("a number that was given out")
    }

    pub(super) fn get(&self, number: u32) -> &T {
        let place = self.places[number as usize].as_ref();
        place.expect("a number that was given out")
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut T {
        let place = self.places[number as usize].as_mut();
        place.expect("a number that was given out")
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + use<T> {
        let used: Vec<u32> = (0_u32..)
            .zip(&self.places)
            .filter_map(|(number, place)| place.is_some().then_some(number))
            .collect();
        used.into_iter()
    }
}
