#![no_main]
gateway_fuzz::target!("conditions");
