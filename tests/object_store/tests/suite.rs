//! The suite that stores of the `object_store` crate are held to, on our buckets.
//!
//! An adapter puts our buckets behind their trait, for this test only: what our interface has no word for it refuses, and
//! what is asked goes to the bucket as it is. It runs where `FRAZIL_SUITE` names a place that is empty; the judges start
//! the server and run it. What of the suite does not apply is named in `tests/README.md`.

#![allow(clippy::unwrap_used)] // A test: its panic is its verdict.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use frazil_model::{
    location::{Location, Object},
    range::ByteRange,
};
use frazil_store::{
    StoreError,
    bucket::{Bucket, Depth, Listed, Page, Part, State, Upload, When},
    profile::located,
    read::Reader,
};
use futures_util::{
    FutureExt, StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use object_store::{
    Attributes, CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartId,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart, integration,
    multipart::{MultipartStore, PartId},
    path::Path,
};

/// Our buckets behind their trait: keys below a prefix.
#[derive(Debug, Clone)]
struct Ours {
    bucket: Bucket,
    below: String,
}

impl fmt::Display for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ours({})", self.below)
    }
}

/// The store of one test.
fn store(name: &str) -> Ours {
    let Location::Object(object) = located(&std::env::var("FRAZIL_SUITE").unwrap()).unwrap() else { unreachable!() };
    let object: Object = object.with_key(format!("{}{name}/", object.key));
    Ours { bucket: Bucket::of(&object).unwrap(), below: object.key }
}

/// Runs a part of the suite on threads of its own: what is asked at once is asked at once.
fn run<F: Future<Output = ()>>(suite: impl FnOnce(Ours) -> F, name: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let store = store(name);
    runtime.block_on(suite(store.clone()));
    runtime.block_on(async {
        let left = store.delete_stream(store.list(None).map_ok(|meta| meta.location).boxed());
        left.try_collect::<Vec<_>>().await.unwrap();
    });
    assert!(store.bucket.uploads(&store.below).unwrap().is_empty(), "an upload is left open");
}

fn error(path: &Path, error: StoreError) -> Error {
    let path = path.to_string();
    match error {
        StoreError::Absent { .. } | StoreError::NotFound { .. } => Error::NotFound { path, source: error.into() },
        StoreError::Taken { .. } => Error::Precondition { path, source: error.into() },
        other => Error::Generic { store: "frazil", source: other.into() },
    }
}

fn no_word_for(what: &str) -> Error {
    Error::NotSupported { source: what.into() }
}

fn put_result(state: &State) -> PutResult {
    PutResult { e_tag: Some(state.tag()), version: None, extensions: Default::default() }
}

fn is_change(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::Changed { .. }))
}

impl Ours {
    /// One look and one read, which is refused if the object became another in between.
    async fn get_once(&self, path: &Path, options: &GetOptions) -> Result<GetResult> {
        let about = self.ask(path, |bucket, key| bucket.about(key)).await?;
        let listed =
            about.ok_or_else(|| Error::NotFound { path: path.to_string(), source: "nothing is there".into() })?;
        let meta = self.meta(&listed);
        options.check_preconditions(&meta)?;
        let generic = |source: Box<dyn std::error::Error + Send + Sync>| Error::Generic { store: "frazil", source };
        let range = match &options.range {
            Some(range) => range.as_range(meta.size).map_err(|why| generic(Box::new(why)))?,
            None => 0..meta.size,
        };
        let (start, n_bytes) = (range.start, if options.head { 0 } else { range.end - range.start });
        let read = self.ask(path, move |bucket, key| match ByteRange::new(start, n_bytes) {
            Some(range) => Reader::open_as(&bucket.location(key), &bucket.mark(&listed))?.read(range),
            None => Ok(Bytes::new()),
        });
        let payload = GetResultPayload::Stream(stream::iter([Ok(read.await?)]).boxed());
        Ok(GetResult { payload, meta, range, attributes: Attributes::new(), extensions: Default::default() })
    }

    fn key(&self, path: &Path) -> String {
        format!("{}{path}", self.below)
    }

    /// Our calls wait; they wait on threads that may.
    async fn ask<T: Send + 'static>(
        &self,
        path: &Path,
        ask: impl FnOnce(&Bucket, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T> {
        let (bucket, key) = (self.bucket.clone(), self.key(path));
        let answer = tokio::task::spawn_blocking(move || ask(&bucket, &key)).await.unwrap();
        answer.map_err(|why| error(path, why))
    }

    fn path(&self, key: &str) -> Path {
        Path::parse(key.strip_prefix(&self.below).unwrap().trim_end_matches('/')).unwrap()
    }

    fn meta(&self, listed: &Listed) -> ObjectMeta {
        ObjectMeta {
            location: self.path(&listed.key),
            last_modified: DateTime::from_timestamp(listed.modified_seconds.unwrap().cast_signed(), 0).unwrap(),
            size: listed.size_bytes,
            e_tag: Some(listed.state.tag()),
            version: None,
        }
    }

    /// Every page of a listing: all of them, or an error.
    async fn pages(&self, prefix: Option<&Path>, depth: Depth) -> Result<Vec<Page>> {
        let root = Path::default();
        let prefix = prefix.unwrap_or(&root);
        let is_root = prefix.as_ref().is_empty();
        let below = if is_root { self.below.clone() } else { format!("{}/", self.key(prefix)) };
        self.ask(prefix, move |bucket, _| bucket.pages(&below, depth).collect()).await
    }
}

#[async_trait]
impl ObjectStore for Ours {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if !options.attributes.is_empty() || !options.tags.is_empty() {
            return Err(no_word_for("attributes"));
        }
        let bytes = Bytes::from(payload);
        let mode = options.mode.clone();
        let put = self.ask(path, move |bucket, key| match &mode {
            PutMode::Overwrite => bucket.put(key, &bytes, When::Always),
            PutMode::Create => bucket.put(key, &bytes, When::Absent),
            PutMode::Update(version) => bucket.put(key, &bytes, When::Is(version.e_tag.as_deref().unwrap())),
        });
        match (put.await, options.mode) {
            (Err(Error::Precondition { path, source }), PutMode::Create) => Err(Error::AlreadyExists { path, source }),
            // A server may say that there is nothing which could be as it should.
            (Err(Error::NotFound { path, source }), PutMode::Update(_)) => Err(Error::Precondition { path, source }),
            (answer, _) => Ok(put_result(&answer?)),
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        if !options.attributes.is_empty() || !options.tags.is_empty() {
            return Err(no_word_for("attributes"));
        }
        let upload = self.ask(path, |bucket, key| bucket.begin(key)).await?;
        Ok(Box::new(Sending { store: self.clone(), path: path.clone(), upload, n_parts: 0, sent: Arc::default() }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        loop {
            match self.get_once(path, &options).await {
                // Between the look and the read it became another: our reader says so, and the suite wants the new one.
                Err(Error::Generic { source, .. }) if is_change(&*source) => {}
                found => return found,
            }
        }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let ours = self.clone();
        let deleted = async move {
            let paths: Vec<Path> = paths.try_collect().await?;
            let keys: Vec<String> = paths.iter().map(|path| ours.key(path)).collect();
            let root = Path::default();
            let left =
                ours.ask(&root, move |bucket, _| bucket.delete(&keys.iter().map(String::as_str).collect::<Vec<_>>()));
            let mut left = left.await?;
            let outcome = |path: Path| match left.iter().position(|(key, _)| *key == ours.key(&path)) {
                Some(at) => Err(error(&path, left.swap_remove(at).1)),
                None => Ok(path),
            };
            Ok::<_, Error>(stream::iter(paths.into_iter().map(outcome).collect::<Vec<_>>()))
        };
        deleted.into_stream().try_flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (ours, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            let pages = ours.pages(prefix.as_ref(), Depth::All).await?;
            let objects: Vec<Result<ObjectMeta>> =
                pages.iter().flat_map(|page| &page.objects).map(|listed| Ok(ours.meta(listed))).collect();
            Ok::<_, Error>(stream::iter(objects))
        };
        listed.into_stream().try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let pages = self.pages(prefix, Depth::One).await?;
        let folders = pages.iter().flat_map(|page| &page.folders).map(|key| self.path(key)).collect();
        let objects = pages.iter().flat_map(|page| &page.objects).map(|listed| self.meta(listed)).collect();
        Ok(ListResult { common_prefixes: folders, objects, extensions: Default::default() })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        // The original is named by its tag, as it always is when we copy.
        let about = self.ask(from, |bucket, key| bucket.about(key)).await?;
        let absent = || Error::NotFound { path: from.to_string(), source: "nothing is there".into() };
        let tag = about.ok_or_else(absent)?.state.tag();
        if options.mode != CopyMode::Overwrite {
            return Err(no_word_for("a copy if nothing is there"));
        }
        let from = self.key(from);
        self.ask(to, move |bucket, key| bucket.copy(bucket, &from, &tag, key)).await.map(drop)
    }
}

/// An upload in parts under way.
#[derive(Debug)]
struct Sending {
    store: Ours,
    path: Path,
    upload: Upload,
    n_parts: u32,
    sent: Arc<std::sync::Mutex<Vec<Part>>>,
}

#[async_trait]
impl MultipartUpload for Sending {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.n_parts += 1;
        let (store, path, upload, number) = (self.store.clone(), self.path.clone(), self.upload.clone(), self.n_parts);
        let sent = Arc::clone(&self.sent);
        let sending: BoxFuture<'static, Result<()>> = async move {
            let bytes = Bytes::from(data);
            let part = store.ask(&path, move |bucket, _| bucket.part(&upload, number, &bytes)).await?;
            sent.lock().unwrap().push(part);
            Ok(())
        }
        .boxed();
        sending
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let mut parts = self.sent.lock().unwrap().clone();
        parts.sort_unstable_by_key(|part| part.number);
        let upload = self.upload.clone();
        let state = self.store.ask(&self.path, move |bucket, _| bucket.complete(&upload, &parts)).await?;
        Ok(put_result(&state))
    }

    async fn abort(&mut self) -> Result<()> {
        let upload = self.upload.clone();
        self.store.ask(&self.path, move |bucket, _| bucket.abort(&upload)).await
    }
}

impl Ours {
    fn upload(&self, path: &Path, id: &MultipartId) -> Upload {
        Upload { key: self.key(path), id: id.clone(), begun_seconds: None }
    }
}

#[async_trait]
impl MultipartStore for Ours {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        Ok(self.ask(path, |bucket, key| bucket.begin(key)).await?.id)
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, index: usize, data: PutPayload) -> Result<PartId> {
        let (upload, bytes) = (self.upload(path, id), Bytes::from(data));
        let number = u32::try_from(index).unwrap() + 1;
        let part = self.ask(path, move |bucket, _| bucket.part(&upload, number, &bytes)).await?;
        Ok(PartId { content_id: part.tag })
    }

    async fn complete_multipart(&self, path: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
        let upload = self.upload(path, id);
        let state = self.ask(path, move |bucket, _| {
            let mut all = bucket.parts(&upload)?;
            if parts.is_empty() {
                // An object of no parts is made of one that is empty, by their clients as by ours.
                all = vec![bucket.part(&upload, 1, b"")?];
            }
            assert!(parts.iter().zip(&all).all(|(asked, there)| asked.content_id == there.tag), "{parts:?} {all:?}");
            bucket.complete(&upload, &all)
        });
        Ok(put_result(&state.await?))
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        let upload = self.upload(path, id);
        self.ask(path, move |bucket, _| bucket.abort(&upload)).await
    }
}

#[test]
#[ignore = "needs a server"]
fn put_get_delete_list() {
    run(|store| async move { integration::put_get_delete_list(&store).await }, "put-get-delete-list");
}

#[test]
#[ignore = "needs a server"]
fn get_opts() {
    run(|store| async move { integration::get_opts(&store).await }, "get-opts");
}

#[test]
#[ignore = "needs a server"]
fn put_opts() {
    run(|store| async move { integration::put_opts(&store, true).await }, "put-opts");
}

#[test]
#[ignore = "needs a server"]
fn stream_get() {
    run(|store| async move { integration::stream_get(&store).await }, "stream-get");
}

#[test]
#[ignore = "needs a server"]
fn list_uses_directories_correctly() {
    run(|store| async move { integration::list_uses_directories_correctly(&store).await }, "directories");
}

#[test]
#[ignore = "needs a server"]
fn list_with_delimiter() {
    run(|store| async move { integration::list_with_delimiter(&store).await }, "delimiter");
}

#[test]
#[ignore = "needs a server"]
fn list_with_offset_exclusivity() {
    run(|store| async move { integration::list_with_offset_exclusivity(&store).await }, "offset");
}

#[test]
#[ignore = "needs a server"]
fn get_nonexistent_object() {
    let asked = |store: Ours| async move {
        let answer = integration::get_nonexistent_object(&store, None).await;
        assert!(matches!(answer, Err(Error::NotFound { .. })), "{answer:?}");
    };
    run(asked, "nonexistent");
}

#[test]
#[ignore = "needs a server"]
fn rename_and_copy() {
    run(|store| async move { integration::rename_and_copy(&store).await }, "rename-and-copy");
}

#[test]
#[ignore = "needs a server"]
fn copy_rename_nonexistent_object() {
    run(|store| async move { integration::copy_rename_nonexistent_object(&store).await }, "copy-nonexistent");
}

#[test]
#[ignore = "needs a server"]
fn multipart() {
    run(|store| async move { integration::multipart(&store, &store).await }, "multipart");
}

#[test]
#[ignore = "needs a server"]
fn multipart_put_part_out_of_order() {
    run(|store| async move { integration::multipart_put_part_out_of_order(&store, &store).await }, "part-out-of-order");
}

#[test]
#[ignore = "needs a server"]
fn multipart_out_of_order() {
    run(|store| async move { integration::multipart_out_of_order(&store).await }, "out-of-order");
}

#[test]
#[ignore = "needs a server"]
fn multipart_race_condition() {
    run(|store| async move { integration::multipart_race_condition(&store, true).await }, "race");
}
