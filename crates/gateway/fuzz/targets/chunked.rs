#![no_main]
gateway_fuzz::target!("chunked");
