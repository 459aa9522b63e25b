//! Rows of bound memory as slices. Every kernel enters its data through these two functions.

/// Row `index` of a matrix of `width` values per row.
///
/// # Safety
/// The matrix must be live, hold that row, and nobody may write the row meanwhile.
pub unsafe fn row<'a, T>(base: *const T, index: usize, width: usize) -> &'a [T] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(base.add(index * width), width) }
}

/// Row `index` of a matrix of `width` values per row, for writing.
///
/// # Safety
/// The matrix must be live, hold that row, and only this worker may touch the row meanwhile.
pub unsafe fn row_mut<'a, T>(base: *mut T, index: usize, width: usize) -> &'a mut [T] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(base.add(index * width), width) }
}
