//! Guides: reading a [report], writing a [kind], a [suite], a [recipe]. These modules hold text alone.

#[doc = include_str!("report.md")]
pub mod report {}
#[doc = include_str!("kind.md")]
pub mod kind {}
#[doc = include_str!("suite.md")]
pub mod suite {}
#[doc = include_str!("recipe.md")]
pub mod recipe {}
