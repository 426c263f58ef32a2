#![no_main]
gateway_fuzz::target!("request");
