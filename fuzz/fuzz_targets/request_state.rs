#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rmcp_guard::internal::fuzz_request_state(data));
