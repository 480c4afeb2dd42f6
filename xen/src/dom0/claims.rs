//! What a domain says of its vchan, before anything is mapped: two numbers in XenStore, and
//! what stands in the first page. Any of it may be missing, absurd, or something else the next
//! time, so each is read once and judged here.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::vchan::Open;
use crate::vchan::{Page, ring_pages};

/// How much of a value is repeated in a message.
const SHOWN: usize = 40;

/// A number that a domain wrote: decimal digits and nothing else, and not zero.
pub(super) fn number(path: &str, value: &[u8]) -> Result<u32, Open> {
    let text = core::str::from_utf8(value).unwrap_or_default().trim_ascii();
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(n) if n != 0 && digits => Ok(n),
        _ => Err(Open::Lie(format!("{path} is {}, no number", shown(value)))),
    }
}

/// A value for a message: no longer than a line, and without bytes that a terminal obeys.
fn shown(value: &[u8]) -> String {
    let (head, rest) = value.split_at(value.len().min(SHOWN));
    let text = format!("{:?}", String::from_utf8_lossy(head));
    if rest.is_empty() { text } else { format!("{text} and {} bytes more", rest.len()) }
}

/// How many pages the left ring has, and the references of both: each is read once.
pub(super) fn layout(page: &Page) -> Result<(usize, Vec<u32>), Open> {
    let (left, right) = page.orders();
    match (ring_pages(left), ring_pages(right)) {
        (Some(l), Some(r)) => {
            let grants: Vec<u32> = page.grants(0).take(l + r).collect();
            if grants.len() == l + r {
                return Ok((l, grants));
            }
            Err(Open::Lie(format!("rings of orders {left} and {right} have no room in a page")))
        }
        _ => Err(Open::Lie(format!("rings of orders {left} and {right}: they are 12 to 20"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vchan::{GRANTS, ORDERS};
    use core::sync::atomic::AtomicU8;
    use proptest::prelude::*;
    use std::string::ToString;
    use std::vec;

    #[test]
    fn what_is_no_number_is_said_and_not_repeated_at_length() {
        for good in ["1", "4294967295", "007", " 12 \n"] {
            assert!(number("/p", good.as_bytes()).is_ok(), "{good:?}");
        }
        for bad in ["", "0", "-1", "+1", "1 2", "0x10", "1e3", "4294967296", "\u{661}", "x"] {
            let said = number("/p", bad.as_bytes()).unwrap_err().to_string();
            assert_eq!(said, format!("/p is {bad:?}, no number"));
        }
        let said = number("/p", b"\x1b[2J\xff\n").unwrap_err().to_string();
        assert!(said.chars().all(|c| !c.is_control()), "{said:?}");
        let said = number("/p", &vec![b'9'; 4096]).unwrap_err().to_string();
        assert!(said.len() < 120 && said.ends_with("and 4056 bytes more, no number"), "{said}");
    }

    /// A page of which a domain wrote orders and references.
    fn page(orders: (u16, u16), grants: &[u32]) -> Page {
        let mut bytes = [const { AtomicU8::new(0) }; 4096];
        let mut put = |at: usize, b: &[u8]| {
            for (i, b) in b.iter().enumerate() {
                bytes[at + i] = AtomicU8::new(*b);
            }
        };
        put(16, &orders.0.to_le_bytes());
        put(18, &orders.1.to_le_bytes());
        for (i, grant) in grants.iter().enumerate() {
            put(24 + 4 * i, &grant.to_le_bytes());
        }
        // SAFETY: a page is atomics alone, of which any bytes are some, and as large.
        unsafe { core::mem::transmute(bytes) }
    }

    proptest! {
        #[test]
        fn no_order_makes_it_take_more_than_a_page_names(
            left in prop_oneof![any::<u16>(), 8..24u16], right in prop_oneof![any::<u16>(), 8..24u16],
            grant in any::<u32>(),
        ) {
            let page = page((left, right), &[grant; GRANTS]);
            match layout(&page) {
                Ok((l, grants)) => {
                    prop_assert!(ORDERS.contains(&left) && ORDERS.contains(&right));
                    prop_assert!(l == 1 << (left - 12) && grants.len() == l + (1 << (right - 12)));
                    prop_assert!(grants.len() <= GRANTS && grants.iter().all(|g| *g == grant));
                }
                Err(Open::Lie(why)) => prop_assert!(why.contains("rings of orders"), "{}", why),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
