#![no_main]
gateway_fuzz::target!("http2");
