//! Times of one operation each: `cargo bench -p vswitch-bench`. For what may not grow, see `bench/instructions`.

use divan::Bencher;
use vswitch_bench::cases::{Case, all};

fn main() {
    divan::main();
}

#[divan::bench(args = all())]
fn engines(bencher: Bencher<'_, '_>, case: &Case) {
    let mut step = (case.prepare)();
    bencher.bench_local(&mut step);
}
