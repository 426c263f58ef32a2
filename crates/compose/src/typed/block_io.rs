//! `blkio_config`.

use crate::diagnostics::Sink;
use crate::quantity;
use crate::tree::Node;
use model::service::{BlockIo, DeviceNumber};

pub(super) fn block_io(node: &Node, sink: &mut Sink) -> Option<Box<BlockIo>> {
    let config = node.get("blkio_config")?;
    let io = BlockIo {
        weight: config.get("weight").and_then(|node| weight(node, sink)).filter(|weight| *weight > 0),
        weight_device: devices(
            config,
            "weight_device",
            "weight",
            |node, sink| weight(node, sink).map(u64::from),
            sink,
        ),
        device_read_bps: devices(config, "device_read_bps", "rate", rate, sink),
        device_write_bps: devices(config, "device_write_bps", "rate", rate, sink),
        device_read_iops: devices(config, "device_read_iops", "rate", rate, sink),
        device_write_iops: devices(config, "device_write_iops", "rate", rate, sink),
    };
    (io != BlockIo::default()).then(|| Box::new(io))
}

fn weight(node: &Node, sink: &mut Sink) -> Option<u16> {
    let text = node.scalar_text()?;
    match text.parse::<u16>() {
        Ok(weight @ (0 | 10..=1000)) => Some(weight),
        _ => {
            sink.error_hint(node.pos, format!("a weight cannot be `{text}`"), "use a number from 10 to 1000");
            None
        }
    }
}

/// Bytes or operations in a second.
fn rate(node: &Node, sink: &mut Sink) -> Option<u64> {
    let text = node.scalar_text()?;
    match quantity::size_or_unlimited(&text) {
        Ok(rate) if rate > 0 => u64::try_from(rate).ok(),
        _ => {
            sink.error_hint(
                node.pos,
                format!("a rate cannot be `{text}`"),
                "use a number such as `1048576` or `1m`",
            );
            None
        }
    }
}

fn devices(
    config: &Node,
    key: &str,
    value: &str,
    read: impl Fn(&Node, &mut Sink) -> Option<u64>,
    sink: &mut Sink,
) -> Vec<DeviceNumber> {
    let items = config.get(key).map(Node::items).unwrap_or_default();
    let mut list = Vec::new();
    for item in items {
        let Some(path) = item.get("path").and_then(Node::as_text) else { continue };
        let Some(number) = item.get(value).and_then(|node| read(node, sink)) else { continue };
        list.push(DeviceNumber { path: path.to_owned(), number });
    }
    list
}
