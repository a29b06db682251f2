//! The program: parse, run, exit code.

#[global_allocator]
static HEAP: bmnic::sys::Heap = bmnic::sys::Heap;

fn main() -> std::process::ExitCode {
    bmnic::cli::main()
}
