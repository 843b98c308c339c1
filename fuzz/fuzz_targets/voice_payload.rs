#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parlor::net::fuzz::voice_payload(bytes));
