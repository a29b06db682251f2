//! Objects with the numbers that firmware gives them.

use super::super::super::wire::Random;

/// Objects of one kind are no more than this.
const MOST: usize = 1 << 15;

/// Objects of one kind by number. Others that name one keep it from going, so that a
/// number always means the same object.
pub struct Slab<T> {
    items: Vec<Option<T>>,
    first: u32,
    count: usize,
}

impl<T> Slab<T> {
    /// Nothing; the first number will be `first`.
    pub fn new(first: u32) -> Self {
        Slab { items: Vec::new(), first, count: 0 }
    }

    fn at(&self, id: u32) -> usize {
        id.wrapping_sub(self.first) as usize
    }

    /// Keeps an object; its number. Numbers are dense, or have gaps (nasty).
    pub fn insert(&mut self, item: T, nasty: Option<&mut Random>) -> Option<u32> {
        let gap = nasty.map_or(0, |random| random.below(4) as usize);
        let at = match self.items.iter().position(Option::is_none) {
            Some(free) if gap == 0 => free,
            _ => self.items.len() + gap,
        };
        if at >= MOST {
            return None;
        }
        if self.items.len() <= at {
            self.items.resize_with(at + 1, || None);
        }
        self.items[at] = Some(item);
        self.count += 1;
        Some(self.first + at as u32)
    }

    /// Forgets an object.
    pub fn remove(&mut self, id: u32) -> Option<T> {
        let at = self.at(id);
        let item = self.items.get_mut(at)?.take()?;
        self.count -= 1;
        Some(item)
    }

    /// An object by number.
    #[inline]
    pub fn get(&self, id: u32) -> Option<&T> {
        self.items.get(self.at(id))?.as_ref()
    }

    /// An object by number, to change it.
    #[inline]
    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let at = self.at(id);
        self.items.get_mut(at)?.as_mut()
    }

    /// Whether there is such an object.
    pub fn holds(&self, id: u32) -> bool {
        self.get(id).is_some()
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let items = self.items.iter().enumerate();
        items.filter_map(|(at, item)| Some((self.first + at as u32, item.as_ref()?)))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }
}
