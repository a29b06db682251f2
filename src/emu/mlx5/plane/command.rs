//! Commands on objects of the data plane, by opcode. Each has the form
//!
//! ```text
//!   request   opcode, uid | modifier | what it is about ...
//!   answer    status | syndrome | number of the object, or nothing | context ...
//! ```

use super::super::super::Board;
use super::be::{bits, id_at, set_bits, u16_at};
use super::{Outcome, Plane};

/// Where a context lies in the answer of a query.
const NEAR: usize = 0x10;
const FAR: usize = 0x20;

/// An answer of nothing but success.
fn done<T>(_: T) -> Vec<u8> {
    vec![0; 0x10]
}

/// An answer with a number.
fn number(id: u32) -> Vec<u8> {
    let mut answer = vec![0; 0x10];
    set_bits(&mut answer, 0x08, 31, 0, id);
    answer
}

/// An answer with a context.
fn context(at: usize, context: &[u8]) -> Vec<u8> {
    let mut answer = vec![0; at];
    answer.extend_from_slice(context);
    answer
}

impl Plane {
    /// Does a command, if it is one of the data plane's; its whole answer, whose status
    /// is 0. The link between commands and the function's state is firmware's affair.
    pub fn command(&mut self, board: &mut Board, request: &[u8]) -> Option<Outcome<Vec<u8>>> {
        let id = id_at(request, 0x08);
        Some(match u16_at(request, 0) {
            0x200 => self.create_mkey(board, request).map(number),
            0x201 => self.query_mkey(id).map(|key| context(NEAR, &key)),
            0x202 => self.destroy_mkey(id).map(done),
            0x203 => Ok(self.special_contexts()),
            0x301 => self.create_eq(board, request).map(number),
            0x302 => self.destroy_eq(id & 0xff).map(done),
            0x303 => self.query_eq(id & 0xff).map(|eq| context(NEAR, &eq)),
            0x400 => self.create_cq(board, request).map(number),
            0x401 => self.destroy_cq(board, id).map(done),
            0x402 => self.query_cq(id).map(|cq| context(NEAR, &cq)),
            0x403 => self.modify_cq(request).map(done),
            0x771 => self.alloc_counter().map(number),
            0x772 => self.dealloc_counter(id & 0xff).map(done),
            0x773 => self.query_counter(bits(request, 0x1c, 7, 0), bits(request, 0x18, 31, 31) == 1),
            0x800 => self.alloc_pd(board).map(number),
            0x801 => self.dealloc_pd(id).map(done),
            0x802 => self.alloc_uar(board).map(number),
            0x803 => self.dealloc_uar(id).map(done),
            0x816 => self.alloc_td(board).map(number),
            0x817 => self.dealloc_td(id).map(done),
            0x900 => self.create_tir(board, request).map(number),
            0x901 => self.modify_tir(request).map(done),
            0x902 => self.destroy_tir(id).map(done),
            0x903 => self.query_tir(id).map(|tir| context(FAR, &tir)),
            0x904 => self.create_sq(board, request).map(number),
            0x905 => self.modify_sq(board, request).map(done),
            0x906 => self.destroy_sq(id).map(done),
            0x907 => self.query_sq(id).map(|sq| context(FAR, &sq)),
            0x908 => self.create_rq(board, request).map(number),
            0x909 => self.modify_rq(board, request).map(done),
            0x90a => self.destroy_rq(id).map(done),
            0x90b => self.query_rq(id).map(|rq| context(FAR, &rq)),
            0x912 => self.create_tis(board, request).map(number),
            0x913 => self.modify_tis(request).map(done),
            0x914 => self.destroy_tis(id).map(done),
            0x915 => self.query_tis(id).map(|tis| context(NEAR, &tis)),
            0x916 => self.create_rqt(board, request).map(number),
            0x917 => self.modify_rqt(request).map(done),
            0x918 => self.destroy_rqt(id).map(done),
            0x919 => self.query_rqt(id).map(|rqt| context(FAR, &rqt)),
            0x92f => self.set_root(request).map(done),
            0x930 => self.create_table(board, request).map(number),
            0x931 => self.destroy_table(request).map(done),
            0x932 => self.query_table(request).map(|table| context(NEAR, &table)),
            0x933 => self.create_group(board, request).map(number),
            0x934 => self.destroy_group(request).map(done),
            0x936 => self.set_entry(board, request).map(done),
            0x938 => self.delete_entry(request).map(done),
            0x93c => self.modify_table(request).map(done),
            _ => return None,
        })
    }
}
