// Package pki is the certificate authority and the issuance policy behind
// SCEP: who may have which device identity. It also keeps the certificate
// with which pushes are sent.
//
// An identity is bound when its challenge is minted: to an enrollment profile
// and a purpose (enroll or renew) and, for a renewal, to the enrollment. The
// subject that a device asks for is ignored. It refuses short keys, reused
// challenges, and renewals of certificates that are not ours.
package pki
