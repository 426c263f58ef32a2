//! Which blocks may hold a word: the filters of up to 64 blocks side by side.
//!
//! Row *n* of a group's table has bit *n* of each block's filter, so that a question reads a few
//! words of the file for 64 blocks at once. Rows are in pages with a checksum each.

/// Blocks of a group, one for each bit of a row.
pub const GROUP_BLOCKS: usize = 64;
/// Bits of a filter for each word of a block, and how many of them a word sets: 1 % of other words
/// pass, too.
const BITS_PER_TOKEN: usize = 9;
const PROBES: u32 = 6;
/// A filter is sized for no more than this many times the average of its group.
const ABOVE_AVERAGE_MAX: usize = 2;
/// Bits of a filter at most: what a block of nothing but short words would ask for.
const BITS_MAX: usize = 1 << 19;

pub const PAGE_BYTES: usize = 4096;
const PAGE_ROWS: usize = (PAGE_BYTES - 4) / 8;

/// Rows of the table for blocks with these words.
fn rows_for(blocks: &[&[u32]]) -> usize {
    let most = blocks.iter().map(|tokens| tokens.len()).max().unwrap_or(0);
    let average = blocks.iter().map(|tokens| tokens.len()).sum::<usize>().div_ceil(blocks.len().max(1));
    let tokens = most.min(average * ABOVE_AVERAGE_MAX).max(8);
    (tokens * BITS_PER_TOKEN).min(BITS_MAX)
}

/// The rows that a word sets.
fn places(token: u32, rows: u32) -> impl Iterator<Item = u32> {
    let mut mixed = u64::from(token).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let (first, step) = (mixed as u32, (mixed >> 32) as u32 | 1);
    (0..PROBES).map(move |probe| {
        let hash = first.wrapping_add(probe.wrapping_mul(step));
        ((u64::from(hash) * u64::from(rows)) >> 32) as u32
    })
}

/// The pages of a group's table, and its number of rows.
pub fn build(blocks: &[&[u32]]) -> (u32, Vec<u8>) {
    assert!(blocks.len() <= GROUP_BLOCKS, "a row has a bit for each block");
    let rows = rows_for(blocks) as u32;
    let mut table = vec![0u64; rows as usize];
    for (block, tokens) in blocks.iter().enumerate() {
        for token in *tokens {
            places(*token, rows).for_each(|row| table[row as usize] |= 1 << block);
        }
    }
    let mut pages = Vec::with_capacity(pages_bytes(rows) as usize);
    for chunk in table.chunks(PAGE_ROWS) {
        let start = pages.len();
        chunk.iter().for_each(|row| pages.extend_from_slice(&row.to_le_bytes()));
        let checksum = crc32fast::hash(&pages[start..]);
        pages.extend_from_slice(&checksum.to_le_bytes());
    }
    (rows, pages)
}

/// What a table of so many rows takes.
pub fn pages_bytes(rows: u32) -> u64 {
    let rows = u64::from(rows);
    rows * 8 + rows.div_ceil(PAGE_ROWS as u64) * 4
}

/// Which blocks may hold all these words, as bits. `page` reads bytes of the table; where it cannot, or
/// where they are damaged, every block may.
pub fn blocks_with(
    tokens: &[u32],
    rows: u32,
    mut page: impl FnMut(u64, usize) -> Option<Vec<u8>>,
    mut damaged: impl FnMut(),
) -> u64 {
    let mut found = u64::MAX;
    for token in tokens {
        for row in places(*token, rows) {
            let number = row as usize / PAGE_ROWS;
            let rows_within = PAGE_ROWS.min(rows as usize - number * PAGE_ROWS);
            let offset = (number * (PAGE_ROWS * 8 + 4)) as u64;
            let whole = page(offset, rows_within * 8 + 4).filter(|page| is_whole(page));
            let Some(bytes) = whole else {
                damaged();
                continue;
            };
            let at = (row as usize % PAGE_ROWS) * 8;
            found &= u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
            if found == 0 {
                return 0;
            }
        }
    }
    found
}

fn is_whole(page: &[u8]) -> bool {
    let (rows, checksum) = page.split_at(page.len() - 4);
    checksum == crc32fast::hash(rows).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(pages: &[u8], rows: u32, tokens: &[u32]) -> (u64, usize) {
        let mut damaged = 0;
        let page = |offset: u64, bytes: usize| Some(pages[offset as usize..offset as usize + bytes].to_vec());
        (blocks_with(tokens, rows, page, || damaged += 1), damaged)
    }

    fn words(block: u32) -> Vec<u32> {
        (0..3000u32).map(|n| (block * 3000 + n).wrapping_mul(0x9e37_79b1) | 1).collect()
    }

    #[test]
    fn no_block_with_a_word_is_left_out_and_few_others_are_read() {
        let blocks: Vec<Vec<u32>> = (0..64).map(words).collect();
        let parts: Vec<&[u32]> = blocks.iter().map(Vec::as_slice).collect();
        let (rows, pages) = build(&parts);
        assert_eq!(pages.len() as u64, pages_bytes(rows));
        let mut others = 0;
        for (block, tokens) in blocks.iter().enumerate() {
            for token in tokens.iter().step_by(100) {
                let (found, _) = ask(&pages, rows, &[*token]);
                assert!(found & (1 << block) != 0);
                others += found.count_ones() - 1;
            }
        }
        let share = f64::from(others) / (64.0 * 30.0 * 63.0);
        assert!(share < 0.02, "{share} of the other blocks pass");
    }

    #[test]
    fn a_damaged_page_lets_every_block_pass() {
        let blocks = [words(1), words(2)];
        let (rows, mut pages) = build(&[&blocks[0], &blocks[1]]);
        pages.iter_mut().step_by(1000).for_each(|byte| *byte ^= 1);
        let (found, damaged) = ask(&pages, rows, &[12_345]);
        assert_eq!(found, u64::MAX);
        assert!(damaged > 0);
    }
}
