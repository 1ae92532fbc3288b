use super::*;

struct Leaves(Vec<Hash>);

impl HashReader for Leaves {
    type Error = std::convert::Infallible;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        let start = usize::try_from(index << level).unwrap();
        Ok(reference_root(&self.0[start..start + (1 << level)]))
    }
}

/// The definition (RFC 9162 §2.1.1).
fn reference_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of_empty_tree(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Hash::of_node(&reference_root(left), &reference_root(right))
        }
    }
}

#[test]
fn every_proof_of_a_small_tree_verifies() {
    let leaves: Vec<_> = (0..20_u8).map(|leaf| Hash::of_leaf(&[leaf])).collect();
    let mut tree = Leaves(leaves.clone());
    for size in 0..=20_u64 {
        let root = root_at(&mut tree, size).unwrap();
        assert_eq!(root, reference_root(&leaves[..usize::try_from(size).unwrap()]));
        for (index, leaf) in (0..size).zip(&leaves) {
            let path = prove_inclusion(&mut tree, index, size).unwrap().unwrap();
            assert_eq!(verify_inclusion(leaf, index, size, &path, &root), Ok(()), "{index} in {size}");
        }
        for old in 0..=size {
            let old_root = root_at(&mut tree, old).unwrap();
            let proof = prove_consistency(&mut tree, old, size).unwrap().unwrap();
            assert_eq!(verify_consistency((old, &old_root), (size, &root), &proof), Ok(()), "{old} to {size}");
        }
    }
}
