//! What the bulk copy engine of a device (compute capability 9.0) is told of a matrix, so that one instruction brings a
//! box of it into shared memory.

use cudarc::driver::sys::{self, CUtensorMapDataType as Kind, CUtensorMapSwizzle as Places};

use super::error::{CudaError, check};

/// A matrix and the boxes that are copied of it, row-major. Goes to a kernel within its parameter.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct TensorMap([u64; 16]);

/// Columns of a box of halves: the 128 bytes whose pieces change places in shared memory.
const HALVES: usize = 64;
/// Columns of a box of floats.
const FLOATS: usize = 16;

impl TensorMap {
    /// Of no matrix.
    pub const NONE: Self = Self([0; 16]);

    /// Of `[rows, columns]` halves one after another, in boxes of `box_rows` times 64 columns, whose pieces of 16 bytes
    /// change places within each row of the box (`SWIZZLE_128B`). What is beyond the matrix is zeros.
    ///
    /// # Errors
    /// When the driver refuses: the address is no multiple of 16 bytes, `columns` none of 8, or a box has over 256 rows.
    pub(super) fn of_halves(at: *const u16, shape: [usize; 2], box_rows: usize) -> Result<Self, CudaError> {
        let places = Places::CU_TENSOR_MAP_SWIZZLE_128B;
        Self::encode(
            at.cast(),
            (Kind::CU_TENSOR_MAP_DATA_TYPE_FLOAT16, size_of::<u16>()),
            shape,
            [box_rows, HALVES],
            places,
        )
    }

    /// Of `[rows, columns]` floats one after another, in boxes of `box_rows` times 16 columns, whose pieces of 16 bytes
    /// change places within each row of the box by pairs of rows (`SWIZZLE_64B`). What is beyond the matrix is not written.
    ///
    /// # Errors
    /// When the driver refuses: the address is no multiple of 16 bytes, or `columns` none of 4.
    pub(super) fn of_floats(at: *const f32, shape: [usize; 2], box_rows: usize) -> Result<Self, CudaError> {
        let places = Places::CU_TENSOR_MAP_SWIZZLE_64B;
        Self::encode(
            at.cast(),
            (Kind::CU_TENSOR_MAP_DATA_TYPE_FLOAT32, size_of::<f32>()),
            shape,
            [box_rows, FLOATS],
            places,
        )
    }

    fn encode(
        at: *const u8,
        (kind, value_bytes): (Kind, usize),
        [rows, columns]: [usize; 2],
        [box_rows, box_columns]: [usize; 2],
        places: Places,
    ) -> Result<Self, CudaError> {
        let mut map = sys::CUtensorMap { opaque: [0; 16] };
        let (sizes, stride) = ([columns as u64, rows as u64], [(value_bytes * columns) as u64]);
        let (box_sizes, steps) = ([box_columns as u32, box_rows as u32], [1, 1]);
        // SAFETY: the arrays are as long as two dimensions ask for; the address is only written down.
        let encoded = unsafe {
            sys::cuTensorMapEncodeTiled(
                &mut map,
                kind,
                2,
                at.cast_mut().cast(),
                sizes.as_ptr(),
                stride.as_ptr(),
                box_sizes.as_ptr(),
                steps.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                places,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        check("cuTensorMapEncodeTiled", encoded).map(|()| Self(map.opaque))
    }
}
