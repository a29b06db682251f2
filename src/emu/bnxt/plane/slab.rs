//! Objects with the ids that firmware gives them.

use super::super::super::wire::Random;

/// Ids of one kind are below this.
const IDS: usize = 4096;

/// Objects of one kind by id. Each has a serial number too: an id that is given
/// again is another object.
pub struct Slab<T> {
    items: Vec<Option<(u32, T)>>,
    first: u16,
    serial: u32,
    count: usize,
    freed: Option<u16>,
}

/// An object as another one keeps it: gone if the id was freed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    /// Its id.
    pub id: u16,
    serial: u32,
}

impl<T> Slab<T> {
    /// Nothing; the first id will be `first`.
    pub fn new(first: u16) -> Self {
        Slab { items: Vec::new(), first, serial: 0, count: 0, freed: None }
    }

    /// Keeps an object; its id. Ids are dense, or anything (nasty): the one that was
    /// freed last, or one after a gap.
    pub fn insert(&mut self, item: T, nasty: Option<&mut Random>) -> Option<u16> {
        let free = |id: usize| self.items.get(id).is_none_or(Option::is_none);
        let id = match nasty {
            None => (usize::from(self.first)..IDS).find(|id| free(*id))?,
            Some(random) => {
                let next = self.items.len().max(usize::from(self.first)) + random.below(5) as usize;
                let again = self.freed.map(usize::from).filter(|id| free(*id));
                let low = || (1..IDS).find(|id| free(*id));
                again.or((next < IDS).then_some(next)).or_else(low)?
            }
        };
        if self.items.len() <= id {
            self.items.resize_with(id + 1, || None);
        }
        self.serial += 1;
        self.count += 1;
        self.items[id] = Some((self.serial, item));
        Some(id as u16)
    }

    /// Forgets an object.
    pub fn remove(&mut self, id: u16) -> Option<T> {
        let (_, item) = self.items.get_mut(usize::from(id))?.take()?;
        self.count -= 1;
        self.freed = Some(id);
        Some(item)
    }

    /// An object by id.
    #[inline]
    pub fn get(&self, id: u16) -> Option<&T> {
        Some(&self.items.get(usize::from(id))?.as_ref()?.1)
    }

    /// An object by id, to change it.
    #[inline]
    pub fn get_mut(&mut self, id: u16) -> Option<&mut T> {
        Some(&mut self.items.get_mut(usize::from(id))?.as_mut()?.1)
    }

    /// What another object keeps of this one.
    pub fn handle(&self, id: u16) -> Option<Handle> {
        let (serial, _) = self.items.get(usize::from(id))?.as_ref()?;
        Some(Handle { id, serial: *serial })
    }

    /// Whether that object is still there.
    #[inline]
    pub fn holds(&self, handle: Handle) -> bool {
        matches!(self.items.get(usize::from(handle.id)), Some(Some((serial, _))) if *serial == handle.serial)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &T)> {
        let items = self.items.iter().enumerate();
        items.filter_map(|(id, item)| item.as_ref().map(|(_, item)| (id as u16, item)))
    }

    /// All of them, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut().flatten().map(|(_, item)| item)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }
}
