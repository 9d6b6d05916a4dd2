package effect

// PermitForTest returns a permit that no ledger stands behind. The import
// laws let only test packages and simulators' tests call it.
func PermitForTest(key string) Permit { return Permit{key: key} }
