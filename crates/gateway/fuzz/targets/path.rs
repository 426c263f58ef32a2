#![no_main]
gateway_fuzz::target!("path");
