import FileIO
import SyncProtocol
import Synchronization

extension BinlogLog {
    /// Makes the log durable up to its written end.
    ///
    /// All changed files, then the sidecar with `published` and the written end, then ``durable``
    /// moves. Calls from several threads follow each other. A failed call closes the log for
    /// writes: a failed fsync is never repeated.
    ///
    /// - Parameter published: End of what all stores hold; at most the written end, never inside
    ///   a group.
    @discardableResult
    public func sync(published: BinlogMark) throws(BinlogError) -> BinlogSyncOutcome {
        try syncLock.withLock { _ throws(BinlogError) in
            if let failure { throw .closedByFailure(failure) }
            do throws(BinlogError) {
                return try syncOnce(published)
            } catch {
                if case .file(let cause) = error { fail(cause) }
                throw error
            }
        }
    }

    /// What a sync has to do, taken at its start.
    private struct SyncTask {
        var files: [LogState.DirtyFile]
        var written: BinlogMark
        var generation: UInt64
        var syncsDirectory: Bool
        var allFiles: [UInt32]
        var logicIndex: UInt64
    }

    private func syncOnce(_ published: BinlogMark) throws(BinlogError) -> BinlogSyncOutcome {
        guard let task = takeTask() else {
            return BinlogSyncOutcome(durable: durable, overtaken: false)
        }
        try syncData(task)
        let overtaken = try writeSidecars(task, published)
        try io { () throws(FileError) in
            for dirty in task.files { try dirty.file.sidecar.synchronize() }
        }
        let outcome = state.withLock { state in
            let isOvertaken = overtaken || state.generation != task.generation
            let reached = isOvertaken ? published.position : task.written.position
            // A cut below the published end happens only to a log that is emptied.
            state.durable = max(state.durable, min(reached, state.end.position))
            return BinlogSyncOutcome(durable: state.durable, overtaken: isOvertaken)
        }
        noteInManifest(task)
        return outcome
    }

    /// The manifest never names an end that was cut: the generation is looked at under the lock
    /// that a cut takes before it writes the manifest itself.
    private func noteInManifest(_ task: SyncTask) {
        sidecarLock.withLock { _ in
            guard state.withLock({ $0.generation == task.generation }) else { return }
            writeManifest(task.written.position, task.logicIndex)
        }
    }

    /// Takes over the list of changed files; nil if there is nothing to do.
    private func takeTask() -> SyncTask? {
        state.withLock { state in
            guard
                state.isCurrentDirty || !state.finishedDirty.isEmpty || state.isDirectoryDirty
                    || state.needsFullSync
            else { return nil }
            var files = state.finishedDirty
            files.append(LogState.DirtyFile(file: state.current, end: nil))
            let task = SyncTask(
                files: files, written: state.end, generation: state.generation,
                syncsDirectory: state.isDirectoryDirty,
                allFiles: state.needsFullSync ? state.entries.map(\.number) : [],
                logicIndex: state.logicIndex)
            state.finishedDirty.removeAll()
            state.isCurrentDirty = false
            state.isDirectoryDirty = false
            state.needsFullSync = false
            return task
        }
    }

    private func syncData(_ task: SyncTask) throws(BinlogError) {
        let fileSystem = directory.fileSystem
        if task.syncsDirectory {
            try io { () throws(FileError) in try fileSystem.syncDirectory(directory.path) }
        }
        for number in task.allFiles where number != task.files.last?.file.number {
            try syncClosedFile(directory.data(number))
            try syncClosedFile(directory.sidecar(number))
        }
        try io { () throws(FileError) in
            for dirty in task.files { try dirty.file.data.synchronize() }
        }
    }

    private func syncClosedFile(_ path: String) throws(BinlogError) {
        do throws(FileError) {
            try directory.fileSystem.open(path, .readWrite).synchronize()
        } catch {
            // Purged meanwhile, or a file of a real Pika without a sidecar.
            if error.isNotFound { return }
            throw .file(error)
        }
    }

    /// Writes the entries of a sync; true if the log was cut since it began.
    private func writeSidecars(
        _ task: SyncTask, _ published: BinlogMark
    ) throws(BinlogError) -> Bool {
        var blocks: [SidecarFile.Additions] = []
        for dirty in task.files {
            let end = dirty.end?.position.offset ?? task.written.position.offset
            blocks.append(try finishedBlocks(dirty.file, upTo: end))
        }
        return try sidecarLock.withLock { _ throws(BinlogError) in
            let isOvertaken = state.withLock { $0.generation != task.generation }
            for (index, dirty) in task.files.enumerated() {
                var additions = isOvertaken ? SidecarFile.Additions() : blocks[index]
                let number = dirty.file.number
                if published.position.fileNumber == number {
                    additions.published = (published.position.offset, published.digest)
                }
                if !isOvertaken {
                    if let end = dirty.end {
                        additions.fileEnd = (end.position.offset, end.digest)
                    } else if task.written != published,
                        task.written.position.fileNumber == number
                    {
                        additions.written = (task.written.position.offset, task.written.digest)
                    }
                }
                guard !additions.isEmpty else { continue }
                try io { () throws(FileError) in try dirty.file.sidecar.add(additions) }
            }
            return isOvertaken
        }
    }

    /// Checksums of the blocks that are full and have none yet, and of the begun one.
    private func finishedBlocks(
        _ file: LogFile, upTo end: UInt64
    ) throws(BinlogError) -> SidecarFile.Additions {
        var additions = SidecarFile.Additions()
        additions.firstBlock = file.sidecar.nextBlock
        let finished = Int(end / UInt64(Record.blockSize))
        let begunBytes = Int(end % UInt64(Record.blockSize))
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Record.blockSize, alignment: 16)
        defer { buffer.deallocate() }
        for block in additions.firstBlock..<max(finished, additions.firstBlock) {
            let start = UInt64(block) * UInt64(Record.blockSize)
            let count = try io { () throws(FileError) in
                try file.data.read(into: buffer, at: start)
            }
            // Short: the log was cut meanwhile, which the generation tells.
            guard count == Record.blockSize else { break }
            additions.blockSums.append(BlockSums.digest(UnsafeRawBufferPointer(buffer)))
        }
        guard begunBytes > 0, end > file.startOffset else { return additions }
        let begun = UnsafeMutableRawBufferPointer(rebasing: buffer[..<begunBytes])
        let count = try io { () throws(FileError) in
            try file.data.read(into: begun, at: end - UInt64(begunBytes))
        }
        if count == begunBytes {
            additions.begunBlock = (end, BlockSums.digest(UnsafeRawBufferPointer(begun)))
        }
        return additions
    }
}
