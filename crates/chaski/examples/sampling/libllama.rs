//! llama.cpp's sampler chain, out of its library as it is found at run time (names and layouts: its `llama.h`).

use std::error::Error;
use std::ffi::c_void;
use std::path::Path;

use libloading::Library;

/// A stage of its chain.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    TopK(i32),
    TopP(f32),
    MinP(f32),
    Temperature(f32),
}

/// `llama_token_data`.
#[repr(C)]
#[derive(Clone, Copy)]
struct TokenData {
    id: i32,
    logit: f32,
    p: f32,
}

/// `llama_token_data_array`.
#[repr(C)]
struct TokenDataArray {
    data: *mut TokenData,
    size: usize,
    selected: i64,
    sorted: bool,
}

/// `llama_sampler_chain_params`.
#[repr(C)]
struct ChainParams {
    no_perf: bool,
}

type Apply = unsafe extern "C" fn(*mut c_void, *mut TokenDataArray);

/// A chain that ends with its draw.
pub struct Chain {
    chain: *mut c_void,
    apply: Apply,
    free: unsafe extern "C" fn(*mut c_void),
    tokens: Vec<TokenData>,
    _library: Library,
}

impl Chain {
    /// Builds the chain as `common_sampler_init` does, of the stages that are on.
    pub fn new(library: &Path, stages: &[Stage], seed: u32) -> Result<Self, Box<dyn Error>> {
        // SAFETY: the library is llama.cpp's, whose initialisers have no preconditions; the signatures are those of
        // its llama.h; a sampler that is added to a chain belongs to it.
        unsafe {
            let library = Library::new(library)?;
            let init = library.get::<unsafe extern "C" fn(ChainParams) -> *mut c_void>(b"llama_sampler_chain_init")?;
            let add = library.get::<unsafe extern "C" fn(*mut c_void, *mut c_void)>(b"llama_sampler_chain_add")?;
            let top_k = library.get::<unsafe extern "C" fn(i32) -> *mut c_void>(b"llama_sampler_init_top_k")?;
            let top_p = library.get::<unsafe extern "C" fn(f32, usize) -> *mut c_void>(b"llama_sampler_init_top_p")?;
            let min_p = library.get::<unsafe extern "C" fn(f32, usize) -> *mut c_void>(b"llama_sampler_init_min_p")?;
            let temp = library.get::<unsafe extern "C" fn(f32) -> *mut c_void>(b"llama_sampler_init_temp")?;
            let dist = library.get::<unsafe extern "C" fn(u32) -> *mut c_void>(b"llama_sampler_init_dist")?;
            let chain = init(ChainParams { no_perf: true });
            for stage in stages {
                let sampler = match *stage {
                    Stage::TopK(k) => top_k(k),
                    Stage::TopP(p) => top_p(p, 0),
                    Stage::MinP(p) => min_p(p, 0),
                    Stage::Temperature(t) => temp(t),
                };
                add(chain, sampler);
            }
            add(chain, dist(seed));
            let apply = *library.get::<Apply>(b"llama_sampler_apply")?;
            let free = *library.get::<unsafe extern "C" fn(*mut c_void)>(b"llama_sampler_free")?;
            Ok(Self { chain, apply, free, tokens: Vec::new(), _library: library })
        }
    }

    /// One token: the list is filled and the chain applied, as `common_sampler_sample` does.
    pub fn sample(&mut self, logits: &[f32]) -> Option<u32> {
        self.tokens.resize(logits.len(), TokenData { id: 0, logit: 0.0, p: 0.0 });
        for (id, (token, &logit)) in self.tokens.iter_mut().zip(logits).enumerate() {
            *token = TokenData { id: id as i32, logit, p: 0.0 };
        }
        let (data, size) = (self.tokens.as_mut_ptr(), self.tokens.len());
        let mut list = TokenDataArray { data, size, selected: -1, sorted: false };
        // SAFETY: chain and list are live; the chain leaves at most as many tokens as there were.
        unsafe {
            (self.apply)(self.chain, &mut list);
            let selected = usize::try_from(list.selected).ok().filter(|&selected| selected < list.size)?;
            u32::try_from((*list.data.add(selected)).id).ok()
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // SAFETY: the chain was made by this library and is freed once.
        unsafe { (self.free)(self.chain) }
    }
}
