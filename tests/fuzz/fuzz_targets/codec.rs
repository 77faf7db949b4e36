#![no_main]
use libfuzzer_sys::fuzz_target;
fuzz_target!(|data: &[u8]| {
    std::hint::black_box(data.iter().map(|b| b.wrapping_add(1)).collect::<Vec<u8>>());
});
