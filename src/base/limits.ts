// Every number that bounds something, with its unit in its name. Change one here, nowhere else.

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const LIMITS = {
  // requests
  bodyMaxBytes: 256 * 1024,
  bodyMaxDepth: 32,
  bodyMaxMembers: 2_000,
  formMaxFields: 64,
  urlMaxBytes: 4_096,
  headersTimeoutMs: 10 * SECOND,
  requestTimeoutMs: 30 * SECOND,
  /** Upper bound, however many descriptors the process may open. */
  connectionsMax: 10_000,
  /** Lower bound, however few descriptors the process may open. */
  connectionsMin: 16,
  connectionsPerSourceFraction: 0.75,
  /** Descriptors kept free for cells and calls to providers; a quarter of all where that is more. */
  descriptorsFreeMin: 24,
  idempotencyKeepMs: DAY,
  instantMaxChars: 48,
  pageDefaultRows: 50,
  pageMaxRows: 500,
  /** Rows that one turn of a list reads before other requests run, and turns that one request takes while its page is short. */
  listScanMaxRows: 500,
  listTurnsMax: 40,

  // credentials
  valueMaxBytes: 64 * 1024,
  credentialNameMaxChars: 128,
  labelsMaxCount: 32,
  labelMaxChars: 256,
  descriptionMaxChars: 1_024,
  reasonMaxChars: 256,
  versionsKept: 100,
  recoveryWindowDefaultMs: 30 * DAY,
  recoveryWindowMinMs: 7 * DAY,
  recoveryWindowMaxMs: 90 * DAY,

  // tokens
  accessTokenTtlDefaultMs: 15 * MINUTE,
  directTokenTtlDefaultMs: 30 * DAY,
  directTokenTtlMaxMs: 90 * DAY,
  userTokenTtlDefaultMs: 12 * HOUR,
  userTokenTtlMaxMs: 30 * DAY,
  bootstrapSecretTtlMs: 7 * DAY,
  enrolmentTtlDefaultMs: DAY,
  enrolmentTtlMaxMs: 7 * DAY,
  workloadTtlDefaultMs: 365 * DAY,
  clientAssertionMaxAgeMs: 5 * MINUTE,
  clientAssertionTtlMaxMs: HOUR,
  clockSkewMs: 60 * SECOND,
  patternsMaxCount: 64,
  networksMaxCount: 64,
  /** Last use is written at most this often per token, so that a read needs no extra write. */
  lastUsedResolutionMs: MINUTE,

  // caches (all dropped when a batch fails; entries are bound to row revisions)
  tokenCacheEntries: 20_000,
  decisionCacheEntries: 50_000,
  credentialCacheEntries: 5_000,
  dataKeyCacheTtlMs: 5 * MINUTE,
  openTenantsMax: 2_000,
  /** By name and by id. */
  tenantRouteCacheEntries: 4_000,

  // rates
  requestsPerSecondPerPrincipal: 50_000,
  failedAuthBurst: 300,
  failedAuthPerSecond: 50,
  /** Refusals recorded as single events: per source (a principal or an address), and in total. Further refusals are only counted. */
  denialEventsBurst: 300,
  denialEventsPerSecond: 1,
  denialSourcesMaxCount: 10_000,
  denialEventsBurstInAll: 3_000,
  denialEventsPerSecondInAll: 10,
  denialSummaryEveryMs: MINUTE,
  batchMaxJobs: 512,

  // reading foreign input
  /** Running time is counted in timers of at most this length, so a suspended process loses at most one of them. */
  runningTickMaxMs: 1_000,
  providerScopeMaxChars: 4_096,
  sentAssertionTtlMaxSeconds: 300,
  /** Assertions are dated back, so that a provider with a slow clock accepts them; subtracted from the lifetime, so its maximum holds. */
  sentAssertionBackdateMaxSeconds: 30,
  providerEndpointMaxChars: 1_024,
  addressMaxChars: 64,
  /** Chained operators in one policy file outside strings and comments; about five times the number in the longest file. */
  policyOperatorsMaxCount: 128,
  progressPollMs: 300,
  /** Streams of the steps of runs: open at once for each tenant, looks at the journal, comments while nothing happens, checks of the token. */
  runEventStreamsMax: 64,
  /** Of these for one principal. */
  runEventStreamsOfOneMax: 16,
  runEventsPollMs: 250,
  runEventsBeatMs: 15 * SECOND,
  runEventsCheckMs: 2 * SECOND,
  /** Then the client connects anew, and passes the door again. */
  runEventsMaxMs: 5 * MINUTE,
  runEventsRetryMs: SECOND,
  /** Streams in a row that break before the client polls only. */
  runStreamsBrokenMax: 3,
  connectTimeoutMaxMs: 10_000,
  wireMinBytes: 65_536,
  faultStallMs: 5_000,

  // audit
  checkpointIntervalMs: SECOND,
  /** Events that one search reads at most. */
  auditScanMaxEvents: 50_000,
  /** Blocks that one turn of a search or export reads before other requests run: about 5 ms of work. */
  auditSliceBlocks: 128,
  auditSliceEvents: 500,
  auditSliceBytes: 512 * 1024,
  /** A head that no answer waits for is flushed to the witness's disk this often, for each cell. */
  witnessFlushEveryMs: MINUTE,
  /** Damaged blocks in a row that a search with `since` includes before it searches from the beginning of the log. */
  auditDamagedBlocksMax: 8,

  /** How often descriptors are counted. */
  descriptorsCountEveryMs: 5 * SECOND,
  /** A client that has not read its answer by then may be disconnected when connections run out. */
  slowReaderMs: 2 * SECOND,
  /** When room is made, idle connections that became idle less than this ago are closed last: a request may be on the way. */
  freshConnectionMs: 250,
  /** Trusted proxies in one chain. */
  forwardedHopsMax: 64,

  // keys of clients
  rsaMinBits: 2_048,
  rsaMaxBits: 8_192,
  /** FIPS 186-5 section 5.1: odd and larger than 2^16. */
  rsaExponentMin: 65_537,

  // health
  storageProbeEveryMs: SECOND,
  storageProbesMax: 8,
  schedulerStoppedMs: 15 * SECOND,

  // deleted rows
  /** How long deleted content may remain in a file when no request waits for its removal. */
  residueMaxMs: MINUTE,

  // anchored state
  /** Size of the journal of changes not yet witnessed: past this it is cut, and only the log's Merkle tree proves continuity. */
  anchorJournalMaxBytes: 32 * 1024 * 1024,
  /** Damaged objects reported one by one while a cell is open; further ones are in the result of the scrub. */
  damageToldMax: 1_000,

  // keys
  wrapsPerKeyMax: Math.floor(2 ** 32 * 0.9),
  /** Wraps that are counted in advance, so that not every batch writes the count; at most this many are lost when a cell closes. */
  wrapsReserved: 1_000,
  rewrapBatchRows: 200,
  /** Rotated by itself before this many wraps, long before `wrapsPerKeyMax`. */
  wrapsPerKeyAged: 2 ** 31,
  /** How old an active key gets: the default, and what an operator may choose. */
  keyPeriodMs: 90 * DAY,
  keyPeriodMinMs: DAY,
  keyPeriodMaxMs: 3_650 * DAY,
  /** After this time, `keyturn keys doctor` reports a key that has not turned, or a rotation that has not ended. */
  keyLateMs: DAY,
  keyDestroyDelayMs: 7 * DAY,
  /** A retired key that is still in use is checked again after this time. */
  keyDestroyAgainMs: DAY,
  /** How long a program that wraps the root key may take, and how much it may answer. */
  rootCommandMaxMs: 30_000,
  rootCommandAnswerMaxBytes: 64 * 1024,
  /** How often a due time of the home cell's keys is read again, whatever it was. */
  homeKeysLookEveryMs: 3_600_000,
  /** Keys of a cell that a rotation of the root key wraps in one job. */
  rootRewrapBatchKeys: 50,
  /** The pause before a rotation of the root key tries cells again that could not be opened. */
  rootRetryMs: MINUTE,

  // reading the log
  /** Searches with `since` and `until` tolerate a clock that was set back by up to this: blocks are found by binary search over time. */
  auditClockSlackMs: DAY,
  /** The polling interval of `keyturn audit tail`. */
  auditFollowMs: SECOND,
  /** Short pages in a row that the command line follows by itself: a search that read many events returns a page that is not full. */
  auditShortPagesMax: 200,
  /** Secrets shorter than this are not removed from messages: they would match parts of ordinary words. */
  heldSecretMinChars: 8,

  // anchored state
  /** Statements kept per table for updates of single sets of columns; beyond this, an update writes all columns. */
  changeStatementsPerTable: 8,
  /** Memory for loaded chunks of the maps of all cells in one process: about four million rows. */
  anchorMemoryMaxBytes: 128 * 1024 * 1024,
  /** The same in a Worker's isolate, whose memory is limited to 128 MB. */
  anchorMemoryIsolateMaxBytes: 32 * 1024 * 1024,
  /** A chunk of the map with more entries than this is split when it is written. */
  anchorChunkMaxEntries: 512,
  /** Findings per table that a scrub describes; further ones are only counted. */
  scrubFindingsMax: 10,
  /** Rows of a table, and blocks of the log, that a scrub in service checks before other requests run: about a millisecond. */
  scrubSliceRows: 100,
  scrubSliceBlocks: 8,
  /** Workers: the interval of signed heads of the home cell in the operator's log, and the wait before a failed alarm is repeated. */
  homeCheckpointEveryMs: 60_000,
  alarmRetryMs: 60_000,
  /** The shortest time between the starts of two scrubs in service of all open cells. */
  scrubEveryMs: 3_600_000,
  /** As `scrubEveryMs`, for a Durable Object: a scrub wakes it. */
  scrubEverySleepingMs: 86_400_000,
  /** A scrub in service pauses this many times as long as it worked, so it uses at most 2 % of a processor. */
  scrubRestFactor: 50,

  // time
  /** A clock whose advance differs from the running time of the process by more than this has jumped. */
  clockJumpMaxMs: 10 * MINUTE,
  /** How long a clock must run without a jump, since the start or since the last jump, before anything is destroyed by it. */
  clockSteadyMs: HOUR,

  // refresh
  providerTimeoutMs: 20 * SECOND,
  providerAnswerMaxBytes: 256 * 1024,
  leaseMs: 45 * SECOND,
  leaseHeartbeatMs: 10 * SECOND,
  /** Attempts to store a provider's answer that exists nowhere else, while the disk is full. */
  storeTriesMax: 600,
  storePauseMs: SECOND,
  /** Concurrent revocations and introspections. */
  providerCallsAtOnce: 8,
  refreshMarginMinMs: 5 * MINUTE,
  refreshMarginFraction: 0.1,
  refreshMarginMaxFraction: 0.5,
  refreshDefaultTtlMs: HOUR,
  /** A token with a shorter life than this when it is issued is treated as unusable. */
  usefulLifetimeMinMs: SECOND,
  refreshCoolDownMs: 30 * SECOND,
  refreshBackoffBaseMs: 5 * SECOND,
  refreshBackoffMaxMs: HOUR,
  /** Sends of one refresh without a pause: the first, one more when its answer was lost, one more when a stop ended its lease. */
  refreshTriesMax: 3,
  /** Retry-After while a refresh is under way or the process is stopping. */
  refreshUnderWayAgainMs: 2 * SECOND,
  stoppingAgainMs: 5 * SECOND,
  /** After a refusal that is not about the grant, for example of the client secret. */
  refreshRefusedBackoffBaseMs: MINUTE,
  /** The shortest wait before the next attempt, used when the access token in hand ends soon. */
  refreshWaitMinMs: SECOND,
  /** After a failure, a read without a live token triggers the next attempt no earlier than this; doubles with each failure up to a bound. */
  readerRetryMs: 5 * SECOND,
  readerRetryMaxMs: 10 * SECOND,
  readerRetryRefusedMaxMs: 5 * MINUTE,
  /** A grant refused with an unknown error for as long as its token lived, at most this long, becomes needs_consent. */
  refusedTooLongMaxMs: DAY,
  /** The longest wait that a provider may ask for; a later instant comes from a wrong clock. */
  refreshWaitMaxMs: DAY,
  accountValueMaxChars: 512,
  /** Length of the list of hosts in one event. */
  hostsTextMaxChars: 500,
  /** For a provider whose own limit is unknown. */
  providerRequestsPerSecond: 200,
  /** How long one request of a rotation waits for the budget of its provider. */
  gateLineMaxMs: 30 * SECOND,
  breakerFailures: 8,
  breakerOpenMs: 30 * SECOND,
  breakerOpenMaxMs: 10 * MINUTE,
  /** How often reads that wait for a token test whether the provider answers again. */
  breakerProbeMs: 5 * SECOND,
  /** The longest believable `expires_in`; a larger number means "does not expire". */
  tokenLifeMaxSeconds: 366 * 86_400,
  /** An expiry given as an instant is capped at this from now; one past the year 9999 is ignored. */
  tokenEndMaxMs: 3_650 * DAY,
  lastInstantMs: 253_402_300_799_999,
  /** An `expires_in` from here on that is a whole number of minutes in milliseconds is read as milliseconds: nobody means 3 d 11 h 20 min. */
  tokenLifeInMillisecondsFrom: 300_000,
  /** A whole number of days up to this is read as seconds (30, 60, 90 days). */
  tokenLifeWholeDaysMax: 100,
  /** Of a `www-authenticate` header; real challenges have some hundred characters. */
  challengeMaxChars: 4_096,
  /** Characters kept of a provider's error text, and bytes of its answer read for it. */
  excerptMaxChars: 400,
  excerptReadMaxChars: 8_192,
  errorWordsMaxCount: 8,
  answerDepthMax: 6,
  keepAliveFraction: 0.75,
  importWatchMs: 7 * DAY,
  importRecentMs: DAY,
  importPutMs: 15 * MINUTE,
  dueWorkConcurrency: 64,
  dueWorkBatchRows: 500,

  // keys at providers
  /** Pages of one list of keys that are read. */
  keyListPagesMax: 50,

  // consent
  connectLinkTtlDefaultMs: DAY,
  connectLinkTtlMinMs: 5 * MINUTE,
  connectLinkTtlMaxMs: 7 * DAY,
  connectAttemptTtlMs: 15 * MINUTE,
  /** Consent attempts that one link may start: each leaves an event. */
  connectAttemptsMaxCount: 50,
  connectionsOpenMaxCount: 16,
  scopesMaxCount: 200,
  workflowsMaxCount: 64,

  // forecast, revocation
  noticeDays: [30, 7, 1],
  reviewEveryMs: DAY,
  reviewAtMostEveryMs: HOUR,
  /** The longest grace period between a rotation and the end of the old value. */
  graceMaxSeconds: 90 * 86_400,
  graceDefaultSeconds: 86_400,
  /** How long after a rotation the old value is ended although readers still have it: the default, and the most that may be set. */
  deadlineDefaultSeconds: 7 * 86_400,
  deadlineMaxSeconds: 180 * 86_400,
  /** A workload that read a credential within this time counts as its reader: the default, and what may be set. */
  readerWindowDefaultSeconds: 30 * 86_400,
  readerWindowMinSeconds: 3_600,
  readerWindowMaxSeconds: 400 * 86_400,
  /** How often a read of the same version is written, for each reader of a credential. */
  readerSeenEveryMs: 5 * MINUTE,
  /** Readers of one credential that one answer or one check of a revocation lists. */
  readersMaxRows: 500,
  /** How often a revocation that waits for readers is checked although none of them read. */
  readersCheckEveryMs: DAY,
  /** How often at most it is checked because one of them read another version. */
  readersMovedEveryMs: MINUTE,
  /** Names of late readers, and readers, that a run keeps: its receipt has at most 8 KB. */
  readersKeptMax: 12,
  receiptMaxBytes: 8_192,
  receiptStepsMax: 24,
  /** A token that is younger than this is not refreshed because a reader asks for the newest. */
  freshenMinAgeMs: MINUTE,
  knownReadersEntries: 50_000,
  /** How long a client may use its copy of a value without asking again, and while a rotation may replace it at once. */
  copyMaxSeconds: 300,
  copyWhileRotatingSeconds: 10,
  /** The period of scheduled rotations. */
  rotateEveryMinSeconds: 60,
  rotateEveryMaxSeconds: 10 * 366 * 86_400,
  // schedules
  cronMaxChars: 100,
  scheduleWindowsMaxCount: 14,
  scheduleBlackoutsMaxCount: 64,
  scheduleJitterMaxSeconds: 30 * 86_400,
  scheduleCatchUpMaxSeconds: 7 * 86_400,
  scheduleCatchUpDefaultMs: HOUR,
  scheduleOverdueMaxSeconds: 90 * 86_400,
  scheduleOverdueDefaultMs: DAY,
  /** While a rotation stays overdue, the alert is raised again after this time, then after twice that, and so on up to the second. */
  overdueAgainMs: DAY,
  overdueAgainMaxMs: 8 * DAY,
  pauseReasonMaxChars: 200,
  scheduleRulesMaxCount: 100,
  /** A rotation that was due this long before the service looked was missed. */
  missedAfterMs: 5 * MINUTE,
  /** Credentials that one job plans again after a rule changed. Dates that are years ahead take some milliseconds each. */
  planBatchRows: 100,
  previewDates: 5,
  /** Spread of a schedule with a period or an age, as a fraction of it, unless it says otherwise. */
  scheduleJitterFraction: 0.1,
  /** Days in which a window is looked for: more than the time between two leap days around a year 2100. */
  scheduleSearchDays: 9 * 366,
  /** Days before the date of an age in which an earlier window is looked for. */
  scheduleEarlierDays: 36,
  /** Rotations of keys and passwords: delay after a transient failure, and after a refusal that a person must look at. */
  rotationBackoffBaseMs: 5 * SECOND,
  rotationBackoffMaxMs: HOUR,
  rotationRefusedAgainMs: HOUR,
  /** The longest delay before a schedule begins a rotation again whose new value failed its test. */
  rotationFailedAgainMaxMs: DAY,
  /** Phases of one rotation without a wait: create, set and test, and repetitions. */
  rotationPhasesMax: 8,
  /** Refused tests of a new value before it is given up, beside the time that the connector declares for its distribution. */
  rotationTestsMax: 3,
  /** Tests of a revoked value with an unknown result before its end is reported as unproven. */
  proofTriesMax: 3,
  /** How long a read waits for a rotation that is replacing the value. */
  doubtWaitMs: 5 * SECOND,
  revokeBackoffBaseMs: 30 * SECOND,
  revokeBackoffMaxMs: 6 * HOUR,
  revokeGiveUpMs: 7 * DAY,

  // drivers of databases: a step connects at most twice and must end within `leaseMs`
  driverConnectTimeoutMs: 5 * SECOND,
  driverStatementTimeoutMs: 10 * SECOND,
  driverAddressesMaxCount: 3,
  driverCloseMs: SECOND,

  // the tour and the sandbox
  tourPollMs: 100,
  tourPollsMax: 100,
  sandboxKeysMaxCount: 10,

  // rotators of the operator
  customHostsMaxCount: 8,
  customMembersMaxCount: 16,
  customSettlesMaxSeconds: 3_600,
  /** Of a program of the operator; the longest must end within `leaseMs`. */
  programDefaultMs: 20 * SECOND,
  programMaxMs: 40 * SECOND,
  programAnswerMaxBytes: 128 * 1024,
  programErrorMaxBytes: 16 * 1024,
  programsMaxCount: 256,
  /** Processes that run at once, of all tenants. */
  programsAtOnceMax: 16,
  programArgumentsMaxCount: 64,
  programListMaxBytes: 256 * 1024,
  signingKeyMinBytes: 24,
  signingKeyMaxBytes: 64,

  // alerts
  webhooksMaxCount: 16,
  calendarFeedsMaxCount: 50,
  /** What a calendar feed contains: overdue work, and what is due within this time, at most this many entries. */
  calendarDays: 180,
  calendarMaxEntries: 1_000,
  webhookTimeoutMs: 10 * SECOND,
  webhookBackoffBaseMs: 5 * SECOND,
  webhookBackoffMaxMs: HOUR,
  webhookGiveUpMs: 3 * DAY,
  alertKeysMaxCount: 8,
  alertsKeepMs: 400 * DAY,
} as const;
