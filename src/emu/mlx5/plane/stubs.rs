//! Placeholders.
use super::super::super::Board;
use super::{Outcome, Plane};
macro_rules! stubs {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $out:ty = $value:expr;)*) => {
        #[allow(missing_docs, unused_variables)]
        impl Plane { $(pub fn $name(&mut self, $($arg: $ty),*) -> Outcome<$out> { Ok($value) })* }
    };
}
stubs! {
    create_mkey(board: &mut Board, request: &[u8]) -> u32 = 0x100;
    query_mkey(id: u32) -> Vec<u8> = vec![];
    destroy_mkey(id: u32) -> () = ();
    create_eq(board: &mut Board, request: &[u8]) -> u32 = 0x10;
    query_eq(id: u32) -> Vec<u8> = vec![];
    destroy_eq(id: u32) -> () = ();
    create_cq(board: &mut Board, request: &[u8]) -> u32 = 0x100;
    query_cq(id: u32) -> Vec<u8> = vec![];
    modify_cq(request: &[u8]) -> () = ();
    destroy_cq(board: &mut Board, id: u32) -> () = ();
    alloc_counter(board: &mut Board) -> u32 = 1;
    dealloc_counter(id: u32) -> () = ();
    query_counter(id: u32, clear: bool) -> Vec<u8> = vec![0; 0x100];
    alloc_pd(board: &mut Board) -> u32 = 1;
    dealloc_pd(id: u32) -> () = ();
    alloc_td(board: &mut Board) -> u32 = 1;
    dealloc_td(id: u32) -> () = ();
    alloc_uar(board: &mut Board) -> u32 = 0x10;
    dealloc_uar(id: u32) -> () = ();
    create_tis(board: &mut Board, request: &[u8]) -> u32 = 1;
    query_tis(id: u32) -> Vec<u8> = vec![];
    modify_tis(request: &[u8]) -> () = ();
    destroy_tis(id: u32) -> () = ();
    create_sq(board: &mut Board, request: &[u8]) -> u32 = 1;
    modify_sq(board: &mut Board, request: &[u8]) -> () = ();
    query_sq(id: u32) -> Vec<u8> = vec![];
    destroy_sq(id: u32) -> () = ();
    create_rq(board: &mut Board, request: &[u8]) -> u32 = 1;
    modify_rq(board: &mut Board, request: &[u8]) -> () = ();
    query_rq(id: u32) -> Vec<u8> = vec![];
    destroy_rq(id: u32) -> () = ();
    create_rqt(board: &mut Board, request: &[u8]) -> u32 = 1;
    modify_rqt(request: &[u8]) -> () = ();
    query_rqt(id: u32) -> Vec<u8> = vec![];
    destroy_rqt(id: u32) -> () = ();
    create_tir(board: &mut Board, request: &[u8]) -> u32 = 1;
    modify_tir(request: &[u8]) -> () = ();
    query_tir(id: u32) -> Vec<u8> = vec![];
    destroy_tir(id: u32) -> () = ();
    create_table(board: &mut Board, request: &[u8]) -> u32 = 1;
    modify_table(request: &[u8]) -> () = ();
    query_table(request: &[u8]) -> Vec<u8> = vec![];
    destroy_table(request: &[u8]) -> () = ();
    set_root(request: &[u8]) -> () = ();
    create_group(board: &mut Board, request: &[u8]) -> u32 = 1;
    destroy_group(request: &[u8]) -> () = ();
    set_entry(board: &mut Board, request: &[u8]) -> () = ();
    delete_entry(request: &[u8]) -> () = ();
}
#[allow(missing_docs, unused_variables)]
impl Plane {
    pub fn special_contexts(&self) -> Vec<u8> {
        vec![0; 0x18]
    }
    pub fn event(&mut self, board: &mut Board, kind: u8, subtype: u8, data: [u8; 28]) {}
    pub fn subscribed(&self, kind: u8) -> bool {
        false
    }
    pub fn doorbell(&mut self, board: &mut Board, uar: u32, at: u16, bytes: &[u8]) {}
    pub fn lane(&mut self, uar: u32, at: u16) -> Option<(crate::pci::Page, usize)> {
        None
    }
}
