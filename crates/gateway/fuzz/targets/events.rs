#![no_main]
gateway_fuzz::target!("events");
